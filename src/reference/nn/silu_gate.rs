//! The gated activation of Llama's MLP.

use num_traits::Float;

use super::fast_exp::{exp_negative, widest};

/// `gate = gate / (1 + exp(-gate)) * up`, taking exponentials of negative numbers only.
pub fn silu_gate<T: Float>(up: &[T], gate: &mut [T]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        let decay = (-gate.abs()).exp();
        let above = if *gate >= T::zero() { T::one() } else { decay };
        *gate = *gate * above / (T::one() + decay) * *up;
    }
}

widest! {
    /// The same in f32 on [`exp_negative`].
    pub fn silu_gate_fast(up: &[f32], gate: &mut [f32]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            let decay = exp_negative(-gate.abs());
            let above = if *gate >= 0.0 { 1.0 } else { decay };
            *gate = *gate * above / (1.0 + decay) * *up;
        }
    }
}
