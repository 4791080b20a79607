//! The gated activation of an MLP.

use num_traits::Float;

use super::activation::{gelu_erf_fast, gelu_tanh_fast, quick_gelu_fast, relu_fast, silu_fast};
use super::fast_exp::widest;

/// `gate = act(gate) * up`.
pub fn gate<T: Float>(act: impl Fn(T) -> T, up: &[T], gate: &mut [T]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = act(*gate) * *up;
    }
}

#[inline(always)]
fn each(act: impl Fn(f32) -> f32, up: &[f32], gate: &mut [f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = act(*gate) * *up;
    }
}

widest! {
    /// The same in f32 for the function that the shader's `ACT` numbers.
    pub fn gate_fast(code: u32, up: &[f32], gate: &mut [f32]) {
        match code {
            0 => each(silu_fast, up, gate),
            1 => each(gelu_erf_fast, up, gate),
            2 => each(gelu_tanh_fast, up, gate),
            3 => each(relu_fast, up, gate),
            _ => each(quick_gelu_fast, up, gate),
        }
    }
}
