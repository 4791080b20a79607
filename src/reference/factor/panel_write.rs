//! Rows into a symmetric matrix of which the upper triangle is stored.

/// Stores rows `row ..`, `[count, cols]`, as far as they belong to the panel `x` of rows `first ..`.
pub fn panel_write<T: Copy>(cols: usize, row: usize, first: usize, rows: &[T], x: &mut [T]) {
    let panel = first..first + x.len() / cols;
    for (r, line) in rows.chunks(cols).enumerate() {
        for (c, value) in line.iter().enumerate() {
            let (low, high) = ((row + r).min(c), (row + r).max(c));
            if (c >= row + r || c < row) && panel.contains(&low) {
                x[(low - first) * cols + high] = *value;
            }
        }
    }
}
