//! Rows of an embedding table picked by token id.

use std::ops::Range;

/// `out[t, :] = table[ids[t] - window.start, :]` where the window of table rows holds the id; other rows stay.
/// `load(i)` is element i of the window.
pub fn embed<T>(ids: &[u32], window: Range<usize>, width: usize, load: impl Fn(usize) -> T, out: &mut [T]) {
    for (id, row) in ids.iter().zip(out.chunks_mut(width)) {
        let id = *id as usize;
        if window.contains(&id) {
            let start = (id - window.start) * width;
            for (col, value) in row.iter_mut().enumerate() {
                *value = load(start + col);
            }
        }
    }
}
