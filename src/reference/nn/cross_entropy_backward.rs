//! Gradient of the cross entropy with respect to one row of logits, a vocabulary tile at a time.

use num_traits::Float;

use super::fast_exp::{exp_negative, widest};

/// `logits = factor (softmax - onehot(target))` for the logits of ids `first_col ..`; `state` is the row's final (max, sum
/// of exp(logit - max), ..). With no target (`u32::MAX`) or a factor of 0 all become 0, whatever they were.
pub fn cross_entropy_backward<T: Float>(state: &[T], target: u32, factor: T, first_col: usize, logits: &mut [T]) {
    if target == u32::MAX || factor == T::zero() {
        return logits.fill(T::zero());
    }
    for logit in logits.iter_mut() {
        *logit = factor * (*logit - state[0]).exp() / state[1];
    }
    subtract(target, factor, first_col, logits);
}

/// The same in f32 on a vectorised exponential.
pub fn cross_entropy_backward_fast(state: &[f32], target: u32, factor: f32, first_col: usize, logits: &mut [f32]) {
    if target == u32::MAX || factor == 0.0 {
        return logits.fill(0.0);
    }
    scaled_exp(logits, state[0], factor / state[1]);
    subtract(target, factor, first_col, logits);
}

fn subtract<T: Float>(target: u32, factor: T, first_col: usize, logits: &mut [T]) {
    if let Some(logit) = (target as usize)
        .checked_sub(first_col)
        .and_then(|col| logits.get_mut(col))
    {
        *logit = *logit - factor;
    }
}

/// Shares of the sum of exponentials below this become zero: no sum in f32 sees them beside the largest, and products with
/// them would be subnormal, which processors take a hundred times as long over.
const NOTHING: f32 = 1e-24;

widest! {
    /// Replaces each value by `factor exp(value - top)`.
    pub fn scaled_exp(values: &mut [f32], top: f32, factor: f32) {
        for value in values {
            let weight = exp_negative(*value - top);
            *value = if weight < NOTHING { 0.0 } else { factor * weight };
        }
    }
}
