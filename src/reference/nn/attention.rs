//! Causal grouped-query attention over several sequences.

use std::ops::Range;

use num_traits::Float;
use rayon::prelude::*;

use super::fast_exp::{exp_in_place, largest};
use super::soft_cap::{soft_cap, soft_cap_fast};
use crate::reference::dense::gemm::{Target, View, gemm_fast_single};

/// Sizes, and what becomes of the scores.
#[derive(Clone, Copy, Debug)]
pub struct Shape<T> {
    /// Rows per sequence.
    pub seq: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; head h uses `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Columns of a head.
    pub head_dim: usize,
    /// Factor of the scores.
    pub scale: T,
    /// Positions a query sees, itself included; `None`: all before it.
    pub window: Option<usize>,
    /// Scores become `cap * tanh(score / cap)`; `None`: they stay.
    pub soft_cap: Option<T>,
}

impl<T> Shape<T> {
    /// First position that the query at `position` sees.
    pub(super) fn first_seen(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }
}

/// `out[i] = Σ_j softmax_j(cap tanh(scale q[i]·k[j] / cap)) v[j]` over the positions `i - window < j <= i` of the sequence
/// of row i.
pub fn attention<T: Float>(shape: Shape<T>, q: &[T], k: &[T], v: &[T], out: &mut [T]) {
    let (dim, width, kv_width) = (
        shape.head_dim,
        shape.heads * shape.head_dim,
        shape.kv_heads * shape.head_dim,
    );
    for row in 0..out.len() / width {
        let first = row / shape.seq * shape.seq + shape.first_seen(row % shape.seq);
        for head in 0..shape.heads {
            let kv_col = head / (shape.heads / shape.kv_heads) * dim;
            let query = &q[row * width + head * dim..][..dim];
            let dot = |j: usize| {
                let key = &k[j * kv_width + kv_col..][..dim];
                shape.scale * query.iter().zip(key).fold(T::zero(), |sum, (q, k)| sum + *q * *k)
            };
            let mut scores: Vec<T> = (first..=row).map(dot).collect();
            if let Some(cap) = shape.soft_cap {
                soft_cap(cap, &mut scores);
            }
            let top = scores.iter().fold(T::neg_infinity(), |top, s| top.max(*s));
            let weights: Vec<T> = scores.iter().map(|s| (*s - top).exp()).collect();
            let total = weights.iter().fold(T::zero(), |sum, w| sum + *w);
            for col in 0..dim {
                let value = |j: usize| v[(first + j) * kv_width + kv_col + col];
                let sum = weights
                    .iter()
                    .enumerate()
                    .fold(T::zero(), |sum, (j, w)| sum + *w * value(j));
                out[row * width + head * dim + col] = sum / total;
            }
        }
    }
}

/// Query rows per product: enough to reuse keys, few enough that little of a block lies above the diagonal.
const ROWS: usize = 64;

/// The same in f32 for the query `positions` of every sequence: products on a GEMM crate, blocks of rows on all cores.
pub fn attention_fast(shape: Shape<f32>, positions: Range<usize>, [q, k, v]: [&[f32]; 3], out: &mut [f32]) {
    let width = shape.heads * shape.head_dim;
    out.par_chunks_mut(shape.seq * width)
        .enumerate()
        .for_each(|(sequence, out)| {
            let end = positions.end.min(shape.seq);
            out[positions.start * width..end * width]
                .par_chunks_mut(ROWS * width)
                .enumerate()
                .for_each_init(Vec::new, |scores, (block, out)| {
                    for head in 0..shape.heads {
                        let block = QueryBlock {
                            shape,
                            head,
                            sequence,
                            position: positions.start + block * ROWS,
                        };
                        block.attend([q, k, v], scores, out);
                    }
                });
        });
}

/// `scale x` rounded to halves; what is beyond their range becomes their largest number, what is not finite NaN.
pub fn halves(x: &[f32], scale: f32) -> Vec<f32> {
    let most = half::f16::MAX.to_f32();
    let round = |v: &f32| match scale * v {
        scaled if scaled.is_finite() => half::f16::from_f32(scaled.clamp(-most, most)).to_f32(),
        _ => f32::NAN,
    };
    x.par_iter().map(round).collect()
}

/// Neighbouring queries of one head.
struct QueryBlock {
    shape: Shape<f32>,
    head: usize,
    sequence: usize,
    position: usize,
}

impl QueryBlock {
    /// Writes this head's columns of `out`, the rows of the block.
    fn attend(&self, [q, k, v]: [&[f32]; 3], scores: &mut Vec<f32>, out: &mut [f32]) {
        let Shape {
            seq,
            heads,
            kv_heads,
            head_dim,
            scale,
            ..
        } = self.shape;
        let (width, kv_width) = (heads * head_dim, kv_heads * head_dim);
        let rows = out.len() / width;
        let first_key = self.shape.first_seen(self.position);
        let keys = self.position + rows - first_key;
        let first = self.sequence * seq;
        let kv_start = (first + first_key) * kv_width + self.head / (heads / kv_heads) * head_dim;
        let queries = View::new(q, (first + self.position) * width + self.head * head_dim, width, 1);
        let keys_t = View::new(k, kv_start, 1, kv_width);
        let values = View::new(v, kv_start, kv_width, 1);
        if scores.len() < rows * keys {
            scores.resize(rows * keys, 0.0);
        }
        let target = Target {
            start: 0,
            stride: keys,
            alpha: scale,
            beta: 0.0,
        };
        gemm_fast_single([rows, keys, head_dim], queries, keys_t, target, scores);
        let mut totals = [0.0; ROWS];
        for (row, scores) in scores.chunks_mut(keys).take(rows).enumerate() {
            let position = self.position + row;
            let (seen, after) = scores.split_at_mut(position + 1 - first_key);
            let (before, seen) = seen.split_at_mut(self.shape.first_seen(position) - first_key);
            if let Some(cap) = self.shape.soft_cap {
                soft_cap_fast(cap, seen);
            }
            let top = largest(seen);
            totals[row] = exp_in_place(seen, top);
            before.fill(0.0);
            after.fill(0.0);
        }
        let target = Target {
            start: self.head * head_dim,
            stride: width,
            alpha: 1.0,
            beta: 0.0,
        };
        gemm_fast_single(
            [rows, head_dim, keys],
            View::row_major(scores, keys),
            values,
            target,
            out,
        );
        for (row, total) in out.chunks_mut(width).zip(totals) {
            for value in &mut row[self.head * head_dim..][..head_dim] {
                *value /= total;
            }
        }
    }
}
