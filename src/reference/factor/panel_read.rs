//! Rows of a symmetric matrix of which the upper triangle is stored.

/// Rows `row ..` of the matrix in `out` `[count, cols]`, as far as they are stored in the panel `x` of rows `first ..`;
/// zero in the columns before `from`.
pub fn panel_read<T: Copy + Default>(cols: usize, row: usize, from: usize, first: usize, x: &[T], out: &mut [T]) {
    let panel = first..first + x.len() / cols;
    for (r, line) in out.chunks_mut(cols).enumerate() {
        for (c, value) in line.iter_mut().enumerate() {
            let (low, high) = ((row + r).min(c), (row + r).max(c));
            if c < from {
                *value = T::default();
            } else if panel.contains(&low) {
                *value = x[(low - first) * cols + high];
            }
        }
    }
}
