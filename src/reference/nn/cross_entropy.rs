//! Running softmax statistics of one row of logits, a vocabulary tile at a time.

use num_traits::Float;

use super::fast_exp::{exp_sum, largest};

/// Largest value of a row and its first index.
pub fn first_max<T: Float>(row: &[T]) -> (T, usize) {
    let mut best = (row[0], 0);
    for (col, value) in row.iter().enumerate() {
        if *value > best.0 {
            best = (*value, col);
        }
    }
    best
}

/// Merges the logits of ids `first_col ..` into `state` = (max, sum of exp(logit - max), logit of the target, id of
/// the max); `first_col` 0 starts afresh. The first id wins ties; the target's logit is 0 until its tile comes.
pub fn cross_entropy<T: Float>(logits: &[T], target: usize, first_col: usize, state: &mut [T]) {
    let (tile_max, at) = first_max(logits);
    let sum = logits
        .iter()
        .fold(T::zero(), |sum, logit| sum + (*logit - tile_max).exp());
    merge(logits, target, first_col, (tile_max, sum, at), state);
}

/// The same in f32 on a vectorised exponential.
pub fn cross_entropy_fast(logits: &[f32], target: usize, first_col: usize, state: &mut [f32]) {
    let tile_max = largest(logits);
    let at = logits.iter().position(|l| *l == tile_max).unwrap_or(0);
    let sum = exp_sum(logits, tile_max);
    merge(logits, target, first_col, (tile_max, sum, at), state);
}

fn merge<T: Float>(logits: &[T], target: usize, first_col: usize, tile: (T, T, usize), state: &mut [T]) {
    let (tile_max, tile_sum, at) = tile;
    let id = T::from(first_col + at).expect("an id is a number");
    if first_col == 0 {
        state.copy_from_slice(&[tile_max, tile_sum, T::zero(), id]);
    } else {
        let old_max = state[0];
        let new_max = old_max.max(tile_max);
        state[0] = new_max;
        state[1] = state[1] * (old_max - new_max).exp() + tile_sum * (tile_max - new_max).exp();
        if tile_max > old_max {
            state[3] = id;
        }
    }
    if (first_col..first_col + logits.len()).contains(&target) {
        state[2] = logits[target - first_col];
    }
}
