//! Reads the diagonal of a panel of rows.

/// `out[first + i] = x[i, first + i]` where x is `[rows, cols]`.
pub fn diagonal<T: Copy>([rows, cols]: [usize; 2], first: usize, x: &[T], out: &mut [T]) {
    for i in 0..rows {
        out[first + i] = x[i * cols + first + i];
    }
}
