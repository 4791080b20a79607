//! Gradient of the layer norm of each row.

use num_traits::Float;

use super::layer_norm::mean;

/// `dx = f (g - mean(g) - z mean(g z))` with `g = dy weight`, `z = (x - mean) f` and `f = 1 / sqrt(var + eps)`, rows as long
/// as `weight`: what a gradient `dy` of the norm's output means for its input.
pub fn layer_norm_backward<T: Float>(x: &[T], weight: &[T], eps: T, dy: &[T], dx: &mut [T]) {
    let cols = weight.len();
    let rows = x.chunks(cols).zip(dy.chunks(cols)).zip(dx.chunks_mut(cols));
    for ((x, dy), dx) in rows {
        let first = mean(x, |x| x);
        let rest = mean(x, |x| x - first);
        let variance = mean(x, |x| (x - first) * (x - first)) - rest * rest;
        let factor = T::one() / (variance.max(T::zero()) + eps).sqrt();
        for ((dx, dy), weight) in dx.iter_mut().zip(dy).zip(weight) {
            *dx = *dy * *weight;
        }
        let level = mean(dx, |g| g);
        let mut pulls = T::zero();
        for (g, x) in dx.iter().zip(x) {
            pulls = pulls + (*g - level) * (*x - first - rest);
        }
        let pull = pulls / T::from(cols).expect("a row length is a number") * factor * factor;
        for (dx, x) in dx.iter_mut().zip(x) {
            *dx = factor * (*dx - level - (*x - first - rest) * pull);
        }
    }
}
