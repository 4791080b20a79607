//! Score of one block of columns in optimal brain surgery.

use num_traits::Float;

/// One row: `score[j] = w[j] / U[j, first + j]`, where `u` holds the block's rows of U, each `cols` long.
pub fn obs_score_row<T: Float>(first: usize, cols: usize, w: &[T], u: &[T], score: &mut [T]) {
    for (j, (score, w)) in score.iter_mut().zip(w).enumerate() {
        *score = *w / u[j * cols + first + j];
    }
}
