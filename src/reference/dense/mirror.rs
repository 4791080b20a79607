//! Makes a matrix symmetric from its upper triangle.

use num_traits::Float;

/// `x[i, j] = x[j, i] = alpha * x[i, j]` for `i <= j`; what was below the diagonal is not read.
pub fn mirror<T: Float>(n: usize, alpha: T, x: &mut [T]) {
    /// Side of a block: both of a pair fit the cache.
    const BLOCK: usize = 32;
    for row in (0..n).step_by(BLOCK) {
        for col in (row..n).step_by(BLOCK) {
            for i in row..n.min(row + BLOCK) {
                for j in col.max(i)..n.min(col + BLOCK) {
                    let value = alpha * x[i * n + j];
                    x[i * n + j] = value;
                    x[j * n + i] = value;
                }
            }
        }
    }
}
