//! A row added to every row.

use num_traits::Float;

/// `x[i, j] += row[j]`.
pub fn add_row<T: Float>(row: &[T], x: &mut [T]) {
    for x in x.chunks_mut(row.len()) {
        for (x, row) in x.iter_mut().zip(row) {
            *x = *x + *row;
        }
    }
}
