//! One FISTA iteration of `min_V 1/2 V H Vᵀ - B Vᵀ + lambda |V|_1` on a set of free elements.

use num_traits::Float;

use super::soft_threshold::soft;

/// Scalars of a step.
#[derive(Clone, Copy)]
pub struct Step<T> {
    /// Length of the gradient step.
    pub step: T,
    /// Threshold of the shrinkage, usually `step * lambda`.
    pub threshold: T,
    /// Factor of the extrapolation.
    pub momentum: T,
}

/// What one row of a step reads besides the product.
#[derive(Clone, Copy)]
pub struct Row<'a, T> {
    /// Extrapolated point.
    pub y: &'a [T],
    /// Linear term.
    pub b: &'a [T],
    /// 0: must stay zero.
    pub free: &'a [T],
}

/// The elementwise half for some elements; `y_next` holds the product `y H` on entry.
pub fn shrink<T: Float>(step: Step<T>, row: Row<'_, T>, x: &mut [T], y_next: &mut [T]) {
    for j in 0..x.len() {
        let v = row.y[j] - step.step * (y_next[j] - row.b[j]);
        let new = if row.free[j] == T::zero() {
            T::zero()
        } else {
            soft(v, step.threshold)
        };
        y_next[j] = new + step.momentum * (new - x[j]);
        x[j] = new;
    }
}

/// The whole step, H being `[n, n]`.
pub fn fista_step<T: Float>(n: usize, step: Step<T>, h: &[T], all: Row<'_, T>, x: &mut [T], y_next: &mut [T]) {
    for (i, y) in all.y.chunks(n).enumerate() {
        for j in 0..n {
            y_next[i * n + j] = (0..n).fold(T::zero(), |sum, k| sum + y[k] * h[k * n + j]);
        }
    }
    shrink(step, all, x, y_next);
}
