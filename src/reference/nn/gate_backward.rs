//! Gradient of the gated activation of an MLP.

use num_traits::Float;

use super::activation::{gelu_erf_fast, gelu_tanh_fast, quick_gelu_fast, relu_fast, silu_fast};
use super::activation_backward::{
    gelu_erf_slope_fast, gelu_tanh_slope_fast, quick_gelu_slope_fast, relu_slope_fast, silu_slope_fast,
};
use super::fast_exp::widest;

/// For `hidden = act(gate) up`: `gate` and `up` become their gradients `dhidden up act'(gate)` and `dhidden act(gate)`.
pub fn gate_backward<T: Float>([act, slope]: [impl Fn(T) -> T; 2], dhidden: &[T], gate: &mut [T], up: &mut [T]) {
    for ((gate, up), dhidden) in gate.iter_mut().zip(up).zip(dhidden) {
        let (value, rise) = (act(*gate), slope(*gate));
        *gate = *dhidden * *up * rise;
        *up = *dhidden * value;
    }
}

#[inline(always)]
fn each(act: impl Fn(f32) -> f32, slope: impl Fn(f32) -> f32, dhidden: &[f32], gate: &mut [f32], up: &mut [f32]) {
    for ((gate, up), dhidden) in gate.iter_mut().zip(up).zip(dhidden) {
        let (value, rise) = (act(*gate), slope(*gate));
        *gate = *dhidden * *up * rise;
        *up = *dhidden * value;
    }
}

widest! {
    /// The same in f32 for the function that the shader's `ACT` numbers.
    pub fn gate_backward_fast(code: u32, dhidden: &[f32], gate: &mut [f32], up: &mut [f32]) {
        match code {
            0 => each(silu_fast, silu_slope_fast, dhidden, gate, up),
            1 => each(gelu_erf_fast, gelu_erf_slope_fast, dhidden, gate, up),
            2 => each(gelu_tanh_fast, gelu_tanh_slope_fast, dhidden, gate, up),
            3 => each(relu_fast, relu_slope_fast, dhidden, gate, up),
            _ => each(quick_gelu_fast, quick_gelu_slope_fast, dhidden, gate, up),
        }
    }
}
