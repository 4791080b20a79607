//! Running sums for the divergence of two models' predictions, a vocabulary tile at a time.

use num_traits::Float;

use super::cross_entropy::first_max;
use super::fast_exp::{exp_cross, exp_sum, largest};

/// Merges the logits p and q of ids `first_col ..` into `state` = (max p, sum exp(p - max p), max q,
/// sum exp(q - max q), sum exp(p - max p) (p - q), id of max p, id of max q, 0); `first_col` 0 starts afresh.
pub fn divergence<T: Float>(p: &[T], q: &[T], first_col: usize, state: &mut [T]) {
    let ((p_max, p_at), (q_max, q_at)) = (first_max(p), first_max(q));
    let (mut p_sum, mut q_sum, mut cross) = (T::zero(), T::zero(), T::zero());
    for (p, q) in p.iter().zip(q) {
        p_sum = p_sum + (*p - p_max).exp();
        q_sum = q_sum + (*q - q_max).exp();
        cross = cross + (*p - p_max).exp() * (*p - *q);
    }
    let id = |at| T::from(first_col + at).expect("an id is a number");
    let tile = [p_max, p_sum, q_max, q_sum, cross, id(p_at), id(q_at), T::zero()];
    merge(tile, first_col == 0, state);
}

/// The same in f32 on a vectorised exponential.
pub fn divergence_fast(p: &[f32], q: &[f32], first_col: usize, state: &mut [f32]) {
    let (p_max, q_max) = (largest(p), largest(q));
    let id = |row: &[f32], top| (first_col + row.iter().position(|l| *l == top).unwrap_or(0)) as f32;
    let (p_sum, cross) = exp_cross(p, q, p_max);
    let q_sum = exp_sum(q, q_max);
    let tile = [p_max, p_sum, q_max, q_sum, cross, id(p, p_max), id(q, q_max), 0.0];
    merge(tile, first_col == 0, state);
}

fn merge<T: Float>(tile: [T; 8], afresh: bool, state: &mut [T]) {
    if afresh {
        return state.copy_from_slice(&tile);
    }
    let (p_max, q_max) = (state[0].max(tile[0]), state[2].max(tile[2]));
    let (p_keep, q_keep) = ((state[0] - p_max).exp(), (state[2] - q_max).exp());
    let (p_scale, q_scale) = ((tile[0] - p_max).exp(), (tile[2] - q_max).exp());
    let p_id = if tile[0] > state[0] { tile[5] } else { state[5] };
    let q_id = if tile[2] > state[2] { tile[6] } else { state[6] };
    let merged = [
        p_max,
        state[1] * p_keep + tile[1] * p_scale,
        q_max,
        state[3] * q_keep + tile[3] * q_scale,
        state[4] * p_keep + tile[4] * p_scale,
        p_id,
        q_id,
        T::zero(),
    ];
    state.copy_from_slice(&merged);
}
