//! Rows into a symmetric matrix of which the upper triangle is stored.

use rayon::prelude::*;

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

/// The same on all cores.
pub fn panel_write_fast(cols: usize, row: usize, first: usize, rows: &[f32], x: &mut [f32]) {
    let count = rows.len() / cols;
    x.par_chunks_mut(cols).enumerate().for_each(|(at, line)| {
        let low = first + at;
        if low < row {
            // What lies left of the block is a column of it.
            for r in 0..count {
                line[row + r] = rows[r * cols + low];
            }
        } else if low < row + count {
            line[low..].copy_from_slice(&rows[(low - row) * cols + low..][..cols - low]);
        }
    });
}
