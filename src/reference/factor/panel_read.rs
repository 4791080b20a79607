//! Rows of a symmetric matrix of which the upper triangle is stored.

use rayon::prelude::*;

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

/// The same on all cores.
pub fn panel_read_fast(cols: usize, row: usize, from: usize, first: usize, x: &[f32], out: &mut [f32]) {
    let panel = first..first + x.len() / cols;
    out.par_chunks_mut(cols).enumerate().for_each(|(r, line)| {
        let row = row + r;
        line[..from].fill(0.0);
        // Left of the diagonal a row is a column of what is stored.
        for c in from.max(panel.start)..row.min(panel.end) {
            line[c] = x[(c - first) * cols + row];
        }
        if panel.contains(&row) {
            let begin = row.max(from);
            line[begin..].copy_from_slice(&x[(row - first) * cols + begin..][..cols - begin]);
        }
    });
}
