//! Scaling of rows and columns.

use num_traits::Float;

/// `x[j] *= row * col[j]` for one row of x and its factor.
pub fn scale_row<T: Float>(row: T, col: &[T], x: &mut [T]) {
    for (x, col) in x.iter_mut().zip(col) {
        *x = *x * (row * *col);
    }
}

/// `x[i, j] *= row[i] * col[j]`.
pub fn scale<T: Float>(row: &[T], col: &[T], x: &mut [T]) {
    for (x, row) in x.chunks_mut(col.len()).zip(row) {
        scale_row(*row, col, x);
    }
}
