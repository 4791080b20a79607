//! Slopes of the activation functions of multilayer perceptrons.
//!
//! Plain forms for any float, and `_fast` ones in f32 that compilers turn into vector code.

use num_traits::Float;

use super::activation::{erfc, normal_fast, number, sigmoid, sigmoid_fast};
use super::fast_exp::{exp_negative, widest};

/// Of `x sigmoid(k x)`.
fn sigmoid_slope<T: Float>(k: T, x: T) -> T {
    let above = sigmoid(k * x);
    above + k * x * above * sigmoid(-k * x)
}

/// Of `x / (1 + exp(-x))`.
pub fn silu_slope<T: Float>(x: T) -> T {
    sigmoid_slope(T::one(), x)
}

/// Of `x Φ(x)`: Φ(x) + x φ(x), φ the normal density.
pub fn gelu_erf_slope<T: Float>(x: T) -> T {
    let half = number::<T>(0.5);
    let density = (-half * x * x).exp() / number::<T>(2.0 * std::f64::consts::PI).sqrt();
    half * erfc(-x * half.sqrt()) + x * density
}

/// Of `x / 2 (1 + tanh(sqrt(2 / π) (x + 0.044715 x³)))`.
pub fn gelu_tanh_slope<T: Float>(x: T) -> T {
    let (factor, cubic) = (number::<T>(8.0 / std::f64::consts::PI).sqrt(), number::<T>(0.044_715));
    let inner = factor * (x + cubic * x * x * x);
    let rise = factor * (T::one() + number::<T>(3.0) * cubic * x * x);
    let above = sigmoid(inner);
    above + x * above * sigmoid(-inner) * rise
}

/// Of `max(x, 0)`; 0 at 0.
pub fn relu_slope<T: Float>(x: T) -> T {
    if x > T::zero() { T::one() } else { T::zero() }
}

/// Of `x / (1 + exp(-1.702 x))`.
pub fn quick_gelu_slope<T: Float>(x: T) -> T {
    sigmoid_slope(number(1.702), x)
}

/// `dy = dy slope(x)`: the gradient of a function's output becomes that of its input.
pub fn activation_backward<T: Float>(slope: impl Fn(T) -> T, x: &[T], dy: &mut [T]) {
    for (dy, x) in dy.iter_mut().zip(x) {
        *dy = *dy * slope(*x);
    }
}

#[inline(always)]
fn sigmoid_slope_fast(k: f32, x: f32) -> f32 {
    let above = sigmoid_fast(k * x);
    above + k * x * above * sigmoid_fast(-k * x)
}

#[inline(always)]
pub(super) fn silu_slope_fast(x: f32) -> f32 {
    sigmoid_slope_fast(1.0, x)
}

#[inline(always)]
pub(super) fn gelu_erf_slope_fast(x: f32) -> f32 {
    normal_fast(x) + 0.398_942_3 * x * exp_negative(-0.5 * x * x)
}

#[inline(always)]
pub(super) fn gelu_tanh_slope_fast(x: f32) -> f32 {
    // Beyond 12 the sigmoid is zero or one, and the powers stay finite.
    let x = x.clamp(-12.0, 12.0);
    let square = 0.044_715 * x * x;
    let inner = 1.595_769 * (x + square * x);
    let above = sigmoid_fast(inner);
    above + x * above * sigmoid_fast(-inner) * 1.595_769 * (1.0 + 3.0 * square)
}

#[inline(always)]
pub(super) fn relu_slope_fast(x: f32) -> f32 {
    if x > 0.0 { 1.0 } else { 0.0 }
}

#[inline(always)]
pub(super) fn quick_gelu_slope_fast(x: f32) -> f32 {
    sigmoid_slope_fast(1.702, x)
}

#[inline(always)]
fn each(slope: impl Fn(f32) -> f32, x: &[f32], dy: &mut [f32]) {
    for (dy, x) in dy.iter_mut().zip(x) {
        *dy *= slope(*x);
    }
}

widest! {
    /// The same in f32 for the function that the shader's `ACT` numbers.
    pub fn activation_backward_fast(code: u32, x: &[f32], dy: &mut [f32]) {
        match code {
            0 => each(silu_slope_fast, x, dy),
            1 => each(gelu_erf_slope_fast, x, dy),
            2 => each(gelu_tanh_slope_fast, x, dy),
            3 => each(relu_slope_fast, x, dy),
            _ => each(quick_gelu_slope_fast, x, dy),
        }
    }
}
