//! Gradient of a smooth bound of numbers.

use num_traits::Float;

use super::fast_exp::{exp_negative, widest};

/// `1 - tanh²(x / cap)`, without the cancellation of that difference: `4 e / (1 + e)²` with `e = exp(-2 |x| / cap)`.
pub fn slope<T: Float>(cap: T, x: T) -> T {
    let two = T::one() + T::one();
    let decay = (-two * x.abs() / cap).exp();
    let sum = T::one() + decay;
    two * two * decay / (sum * sum)
}

/// `dy = dy (1 - tanh²(x / cap))`: `dy` becomes the gradient of x, what was bounded.
pub fn soft_cap_backward<T: Float>(cap: T, x: &[T], dy: &mut [T]) {
    for (dy, x) in dy.iter_mut().zip(x) {
        *dy = *dy * slope(cap, *x);
    }
}

/// [`slope`] in f32 on [`exp_negative`].
#[inline(always)]
pub(super) fn slope_fast(cap: f32, x: f32) -> f32 {
    let decay = exp_negative(-2.0 * x.abs() / cap);
    let sum = 1.0 + decay;
    4.0 * decay / (sum * sum)
}

widest! {
    /// The same in f32 on [`exp_negative`].
    pub fn soft_cap_backward_fast(cap: f32, x: &[f32], dy: &mut [f32]) {
        for (dy, x) in dy.iter_mut().zip(x) {
            *dy *= slope_fast(cap, *x);
        }
    }
}
