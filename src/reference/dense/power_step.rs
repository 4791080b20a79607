//! One step of the power iteration.

use num_traits::Float;

use super::gemv::{dot, pairwise};

/// Returns `(x·y, |y|, |y - (x·y) x|, 0)` for `y = H x` and sets `x = y / |y|`, unless y is zero.
pub fn power_step<T: Float>(y: &[T], x: &mut [T]) -> [T; 4] {
    let rayleigh = dot(x, y);
    let norm = dot(y, y).sqrt();
    let residual = pairwise(y.len(), |i| {
        let d = y[i] - rayleigh * x[i];
        d * d
    })
    .sqrt();
    if norm > T::zero() {
        for (x, y) in x.iter_mut().zip(y) {
            *x = *y / norm;
        }
    }
    [rayleigh, norm, residual, T::zero()]
}
