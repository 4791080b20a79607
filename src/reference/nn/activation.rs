//! Activation functions of multilayer perceptrons.
//!
//! Plain forms for any float, and `_fast` ones in f32 that compilers turn into vector code.

use num_traits::Float;

use super::fast_exp::{exp_negative, widest};

pub(super) fn number<T: Float>(value: f64) -> T {
    T::from(value).expect("a number")
}

/// `1 / (1 + exp(-x))`, taking exponentials of negative numbers only.
pub(super) fn sigmoid<T: Float>(x: T) -> T {
    let decay = (-x.abs()).exp();
    let above = if x >= T::zero() { T::one() } else { decay };
    above / (T::one() + decay)
}

/// `x / (1 + exp(-x))`.
pub fn silu<T: Float>(x: T) -> T {
    x * sigmoid(x)
}

/// `1 - erf(z)`: below 2 by the series of erf with positive terms only, from there by the continued fraction of erfc.
pub fn erfc<T: Float>(z: T) -> T {
    let (one, two) = (T::one(), number::<T>(2.0));
    if z < T::zero() {
        return two - erfc(-z);
    }
    let bell = (-z * z).exp() / number::<T>(std::f64::consts::PI).sqrt();
    if z < two {
        // erf(z) = 2 bell Σ 2ⁿ z²ⁿ⁺¹ / (1 · 3 ⋯ (2n + 1))
        let (mut term, mut sum) = (z, z);
        for n in 1..64 {
            term = term * two * z * z / number(f64::from(2 * n + 1));
            sum = sum + term;
        }
        return one - two * bell * sum;
    }
    // erfc(z) = bell / (z + (1/2) / (z + (2/2) / (z + (3/2) / …)))
    let below = (1..=100)
        .rev()
        .fold(z, |below, n| z + number::<T>(f64::from(n) / 2.0) / below);
    bell / below
}

/// `x Φ(x)`, Φ the normal distribution function.
pub fn gelu_erf<T: Float>(x: T) -> T {
    let half = number::<T>(0.5);
    x * half * erfc(-x * half.sqrt())
}

/// `x / 2 (1 + tanh(sqrt(2 / π) (x + 0.044715 x³)))`, as `x` times a sigmoid of twice the argument.
pub fn gelu_tanh<T: Float>(x: T) -> T {
    let factor = number::<T>(8.0 / std::f64::consts::PI).sqrt();
    x * sigmoid(factor * (x + number::<T>(0.044_715) * x * x * x))
}

/// `max(x, 0)`.
pub fn relu<T: Float>(x: T) -> T {
    x.max(T::zero())
}

/// `x / (1 + exp(-1.702 x))`.
pub fn quick_gelu<T: Float>(x: T) -> T {
    x * sigmoid(number::<T>(1.702) * x)
}

/// Applies `act` in place.
pub fn activation<T: Float>(act: impl Fn(T) -> T, x: &mut [T]) {
    for x in x {
        *x = act(*x);
    }
}

#[inline(always)]
pub(super) fn sigmoid_fast(x: f32) -> f32 {
    let decay = exp_negative(-x.abs());
    let above = if x >= 0.0 { 1.0 } else { decay };
    above / (1.0 + decay)
}

#[inline(always)]
pub(super) fn silu_fast(x: f32) -> f32 {
    x * sigmoid_fast(x)
}

/// The normal distribution function. Its tail is `exp(-z²)` times a polynomial in `t = 1 / (1 + 0.3 z)`, fitted to 4e-8
/// relative up to z = 9.5.
#[inline(always)]
pub(super) fn normal_fast(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.3 * z);
    let mut series = -0.130_492_82;
    for factor in [
        0.490_571_6,
        -0.523_314_65,
        0.561_246_2,
        -0.104_712_14,
        0.219_567_12,
        0.147_045_42,
        0.170_914_16,
        0.169_175_1,
    ] {
        series = series * t + factor;
    }
    let tail = 0.5 * series * t * exp_negative(-z * z);
    if x >= 0.0 { 1.0 - tail } else { tail }
}

#[inline(always)]
pub(super) fn gelu_erf_fast(x: f32) -> f32 {
    x * normal_fast(x)
}

#[inline(always)]
pub(super) fn gelu_tanh_fast(x: f32) -> f32 {
    x * sigmoid_fast(1.595_769 * (x + 0.044_715 * x * x * x))
}

#[inline(always)]
pub(super) fn relu_fast(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

#[inline(always)]
pub(super) fn quick_gelu_fast(x: f32) -> f32 {
    x * sigmoid_fast(1.702 * x)
}

#[inline(always)]
fn each(act: impl Fn(f32) -> f32, x: &mut [f32]) {
    for x in x {
        *x = act(*x);
    }
}

widest! {
    /// Applies in place the function that the shader's `ACT` numbers: 0 [`silu`], 1 [`gelu_erf`], 2 [`gelu_tanh`],
    /// 3 [`relu`], else [`quick_gelu`].
    pub fn activation_fast(code: u32, x: &mut [f32]) {
        match code {
            0 => each(silu_fast, x),
            1 => each(gelu_erf_fast, x),
            2 => each(gelu_tanh_fast, x),
            3 => each(relu_fast, x),
            _ => each(quick_gelu_fast, x),
        }
    }
}
