//! Transposes a matrix.

/// `out[j, i] = x(i, j)` for the rows of out from `first` on; `rows` is the number of rows of x.
pub fn transpose<T: Copy>(rows: usize, first: usize, x: impl Fn(usize, usize) -> T, out: &mut [T]) {
    for (j, line) in out.chunks_mut(rows).enumerate() {
        for (i, value) in line.iter_mut().enumerate() {
            *value = x(i, first + j);
        }
    }
}
