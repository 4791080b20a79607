//! Gradients of causal grouped-query attention.

use num_traits::Float;

use super::attention::Shape;
pub use super::attention_backward_fast::{keys_fast, queries_fast};
use super::soft_cap::soft_cap;

/// What [`attention_backward`] writes: rows as `q`, `k`, `v`; `stats` `[rows, 2 * heads]`.
pub struct Gradients<'a, T> {
    /// Per row and head the logarithm of the sum of exponentials of the scores, and `D = dout · out`.
    pub stats: &'a mut [T],
    /// Of the queries.
    pub dq: &'a mut [T],
    /// Of the keys.
    pub dk: &'a mut [T],
    /// Of the values.
    pub dv: &'a mut [T],
}

/// With `p` the softmax of the scores `s`, and `c` the slope of their soft cap: `ds_ij = p_ij (dout_i·v_j - D_i) c_ij`,
/// `dq_i = scale Σ_j ds_ij k_j`, `dk_j = scale Σ_i ds_ij q_i`, `dv_j = Σ_i p_ij dout_i`.
pub fn attention_backward<T: Float>(shape: Shape<T>, [q, k, v, dout]: [&[T]; 4], to: Gradients<'_, T>) {
    let Gradients { stats, dq, dk, dv } = to;
    let (dim, width, kv_width) = (
        shape.head_dim,
        shape.heads * shape.head_dim,
        shape.kv_heads * shape.head_dim,
    );
    let dot = |a: &[T], b: &[T]| a.iter().zip(b).fold(T::zero(), |sum, (a, b)| sum + *a * *b);
    let add = |factor: T, x: &[T], to: &mut [T]| to.iter_mut().zip(x).for_each(|(to, x)| *to = *to + factor * *x);
    [&mut *dq, dk, dv].into_iter().for_each(|d| d.fill(T::zero()));
    for row in 0..dq.len() / width {
        let first = row / shape.seq * shape.seq + shape.first_seen(row % shape.seq);
        for head in 0..shape.heads {
            let at = row * width + head * dim;
            let kv = |j: usize| j * kv_width + head / (shape.heads / shape.kv_heads) * dim;
            let mut scores: Vec<T> = (first..=row)
                .map(|j| shape.scale * dot(&q[at..][..dim], &k[kv(j)..][..dim]))
                .collect();
            if let Some(cap) = shape.soft_cap {
                soft_cap(cap, &mut scores);
            }
            let top = scores.iter().fold(T::neg_infinity(), |top, s| top.max(*s));
            let total = scores.iter().fold(T::zero(), |sum, s| sum + (*s - top).exp());
            let lse = top + total.ln();
            let pulls: Vec<T> = (first..=row)
                .map(|j| dot(&dout[at..][..dim], &v[kv(j)..][..dim]))
                .collect();
            let weights: Vec<T> = scores.iter().map(|s| (*s - lse).exp()).collect();
            let mean = dot(&weights, &pulls);
            stats[row * 2 * shape.heads + 2 * head] = lse;
            stats[row * 2 * shape.heads + 2 * head + 1] = mean;
            for (i, j) in (first..=row).enumerate() {
                let slope = shape
                    .soft_cap
                    .map_or(T::one(), |cap| T::one() - (scores[i] / cap) * (scores[i] / cap));
                let pull = shape.scale * weights[i] * (pulls[i] - mean) * slope;
                add(weights[i], &dout[at..][..dim], &mut dv[kv(j)..][..dim]);
                add(pull, &q[at..][..dim], &mut dk[kv(j)..][..dim]);
                add(pull, &k[kv(j)..][..dim], &mut dq[at..][..dim]);
            }
        }
    }
}
