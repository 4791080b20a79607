//! A smooth bound of numbers.

use num_traits::Float;

use super::fast_exp::{exp_negative, widest};

/// `x = cap tanh(x / cap)`.
pub fn soft_cap<T: Float>(cap: T, x: &mut [T]) {
    for x in x {
        *x = cap * (*x / cap).tanh();
    }
}

/// Cephes' odd polynomial below 0.625, from there `1 - 2 e / (1 + e)` with `e = exp(-2 |x|)`.
#[inline(always)]
fn tanh_fast(x: f32) -> f32 {
    let (size, square) = (x.abs(), x * x);
    let mut series = -5.704_988_7e-3;
    for factor in [2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -0.333_332_8] {
        series = series * square + factor;
    }
    let near = x + x * square * series;
    let decay = exp_negative(-2.0 * size);
    let far = (1.0 - 2.0 * decay / (1.0 + decay)).copysign(x);
    if size < 0.625 { near } else { far }
}

widest! {
    /// The same in f32 on [`exp_negative`].
    pub fn soft_cap_fast(cap: f32, x: &mut [f32]) {
        for x in x {
            *x = cap * tanh_fast(*x / cap);
        }
    }
}
