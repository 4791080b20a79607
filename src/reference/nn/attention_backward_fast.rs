//! Gradients of attention in f32: products on a GEMM crate, blocks of rows on all cores.

use std::ops::Range;

use rayon::prelude::*;

use super::attention::Shape;
use super::fast_exp::{exp_in_place, exp_negative, largest, widest};
use super::soft_cap::soft_cap_fast;
use crate::reference::dense::gemm::{Target, View, gemm_fast_single};

/// Rows per product: enough to reuse the other side, few enough that little of a block lies above the diagonal.
const ROWS: usize = 64;
/// Queries that a block of keys takes at once: the scores stay in cache.
const QUERIES: usize = 256;

/// Space of one thread.
#[derive(Default)]
struct Scratch {
    weights: Vec<f32>,
    pulls: Vec<f32>,
    slopes: Vec<f32>,
    stats: Vec<f32>,
}

impl Scratch {
    fn fit(&mut self, scores: usize) {
        for part in [&mut self.weights, &mut self.pulls, &mut self.slopes] {
            if part.len() < scores {
                part.resize(scores, 0.0);
            }
        }
    }
}

/// `stats` and `dq` in f32 for the query `positions` of every sequence, with `out` the attention's result.
pub fn queries_fast(
    shape: Shape<f32>,
    positions: Range<usize>,
    inputs: [&[f32]; 5],
    stats: &mut [f32],
    dq: &mut [f32],
) {
    let width = shape.heads * shape.head_dim;
    let end = positions.end.min(shape.seq);
    let stats = stats.par_chunks_mut(shape.seq * 2 * shape.heads);
    dq.par_chunks_mut(shape.seq * width)
        .zip(stats)
        .enumerate()
        .for_each(|(sequence, (dq, stats))| {
            let stats = &mut stats[positions.start * 2 * shape.heads..end * 2 * shape.heads];
            dq[positions.start * width..end * width]
                .par_chunks_mut(ROWS * width)
                .zip(stats.par_chunks_mut(ROWS * 2 * shape.heads))
                .enumerate()
                .for_each_init(Scratch::default, |scratch, (block, (dq, stats))| {
                    for head in 0..shape.heads {
                        let position = positions.start + block * ROWS;
                        let block = QueryBlock {
                            shape,
                            head,
                            first: sequence * shape.seq,
                            position,
                        };
                        block.queries(inputs, scratch, stats, dq);
                    }
                });
        });
}

/// `dk` and `dv` in f32 for the key `positions` of every sequence, `stats` from [`queries_fast`].
pub fn keys_fast(shape: Shape<f32>, positions: Range<usize>, inputs: [&[f32]; 5], dk: &mut [f32], dv: &mut [f32]) {
    let width = shape.kv_heads * shape.head_dim;
    let end = positions.end.min(shape.seq);
    dk.par_chunks_mut(shape.seq * width)
        .zip(dv.par_chunks_mut(shape.seq * width))
        .enumerate()
        .for_each(|(sequence, (dk, dv))| {
            let dv = &mut dv[positions.start * width..end * width];
            dk[positions.start * width..end * width]
                .par_chunks_mut(ROWS * width)
                .zip(dv.par_chunks_mut(ROWS * width))
                .enumerate()
                .for_each_init(Scratch::default, |scratch, (block, (dk, dv))| {
                    for head in 0..shape.heads {
                        let position = positions.start + block * ROWS;
                        let block = QueryBlock {
                            shape,
                            head,
                            first: sequence * shape.seq,
                            position,
                        };
                        block.keys(inputs, scratch, dk, dv);
                    }
                });
        });
}

/// Neighbouring queries or keys of one query head.
struct QueryBlock {
    shape: Shape<f32>,
    head: usize,
    /// First row of the sequence.
    first: usize,
    position: usize,
}

impl QueryBlock {
    /// Rows from `position` of this head in a matrix of queries (`[rows, dim]`).
    fn of_queries<'a>(&self, x: &'a [f32], position: usize) -> View<'a, f32> {
        let (dim, width) = (self.shape.head_dim, self.shape.heads * self.shape.head_dim);
        View::new(x, (self.first + position) * width + self.head * dim, width, 1)
    }

    /// The same of keys or values.
    fn of_keys<'a>(&self, x: &'a [f32], position: usize) -> View<'a, f32> {
        let (dim, width) = (self.shape.head_dim, self.shape.kv_heads * self.shape.head_dim);
        View::new(x, (self.first + position) * width + self.kv_head() * dim, width, 1)
    }

    fn kv_head(&self) -> usize {
        self.head / (self.shape.heads / self.shape.kv_heads)
    }

    fn queries(&self, [q, k, v, out, dout]: [&[f32]; 5], scratch: &mut Scratch, stats: &mut [f32], dq: &mut [f32]) {
        let Shape {
            heads, head_dim, scale, ..
        } = self.shape;
        let width = heads * head_dim;
        let rows = dq.len() / width;
        let first_key = self.shape.first_seen(self.position);
        let keys = self.position + rows - first_key;
        scratch.fit(rows * keys);
        let Scratch {
            weights, pulls, slopes, ..
        } = scratch;
        let shape = [rows, keys, head_dim];
        let (q_rows, dout_rows) = (self.of_queries(q, self.position), self.of_queries(dout, self.position));
        let (k_rows, v_rows) = (self.of_keys(k, first_key), self.of_keys(v, first_key));
        gemm_fast_single(shape, q_rows, k_rows.transpose(), to(0, keys, scale, 0.0), weights);
        gemm_fast_single(shape, dout_rows, v_rows.transpose(), to(0, keys, 1.0, 0.0), pulls);
        for row in 0..rows {
            let position = self.position + row;
            let seen = self.shape.first_seen(position) - first_key..position + 1 - first_key;
            let line = &mut weights[row * keys..][..keys];
            line[..seen.start].fill(0.0);
            line[seen.end..].fill(0.0);
            let line = &mut line[seen.clone()];
            let slopes = &mut slopes[..line.len()];
            if let Some(cap) = self.shape.soft_cap {
                cap_with_slopes(cap, line, slopes);
            }
            let top = largest(line);
            let total = exp_in_place(line, top);
            let at = (self.first + position) * width + self.head * head_dim;
            let mean = dot(&dout[at..][..head_dim], &out[at..][..head_dim]);
            let stat = &mut stats[row * 2 * heads + 2 * self.head..][..2];
            stat.copy_from_slice(&[top + total.ln(), mean]);
            pull_queries(&pulls[row * keys..][seen], mean, total.recip(), line);
            if self.shape.soft_cap.is_some() {
                multiply(slopes, line);
            }
        }
        let target = to(self.head * head_dim, width, scale, 0.0);
        gemm_fast_single(
            [rows, head_dim, keys],
            View::row_major(weights, keys),
            k_rows,
            target,
            dq,
        );
    }

    /// Adds this query head's share to the block's keys and values; the first head of a group replaces what was there.
    fn keys(&self, [q, k, v, dout, stats]: [&[f32]; 5], scratch: &mut Scratch, dk: &mut [f32], dv: &mut [f32]) {
        let Shape {
            seq,
            heads,
            kv_heads,
            head_dim,
            scale,
            window,
            ..
        } = self.shape;
        let width = kv_heads * head_dim;
        let rows = dk.len() / width;
        let end = window.map_or(seq, |window| (self.position + rows - 1).saturating_add(window).min(seq));
        scratch.fit(rows * QUERIES);
        let (k_rows, v_rows) = (self.of_keys(k, self.position), self.of_keys(v, self.position));
        for start in (self.position..end).step_by(QUERIES) {
            let queries = QUERIES.min(end - start);
            let (q_rows, dout_rows) = (self.of_queries(q, start), self.of_queries(dout, start));
            let shape = [rows, queries, head_dim];
            gemm_fast_single(
                shape,
                k_rows,
                q_rows.transpose(),
                to(0, queries, scale, 0.0),
                &mut scratch.weights,
            );
            gemm_fast_single(
                shape,
                v_rows,
                dout_rows.transpose(),
                to(0, queries, 1.0, 0.0),
                &mut scratch.pulls,
            );
            let stat = |i: usize, which: usize| stats[(self.first + start + i) * 2 * heads + 2 * self.head + which];
            scratch.stats.clear();
            scratch.stats.extend((0..queries).map(|i| stat(i, 0)));
            scratch.stats.extend((0..queries).map(|i| stat(i, 1)));
            self.weigh(scratch, rows, start..start + queries);
            let new = start == self.position && self.head.is_multiple_of(heads / kv_heads);
            let old = if new { 0.0 } else { 1.0 };
            let (at, shape) = (self.kv_head() * head_dim, [rows, head_dim, queries]);
            let (weights, pulls) = (
                View::row_major(&scratch.weights, queries),
                View::row_major(&scratch.pulls, queries),
            );
            gemm_fast_single(shape, weights, dout_rows, to(at, width, 1.0, old), dv);
            gemm_fast_single(shape, pulls, q_rows, to(at, width, scale, old), dk);
        }
    }

    /// Turns scores and products into weights and gradients of scores, `[keys, queries]`.
    fn weigh(&self, scratch: &mut Scratch, rows: usize, positions: Range<usize>) {
        let queries = positions.len();
        let (lse, means) = scratch.stats.split_at(queries);
        for row in 0..rows {
            let key = self.position + row;
            let inside = |position: usize| position.clamp(positions.start, positions.end) - positions.start;
            let last = self
                .shape
                .window
                .map_or(usize::MAX, |window| key.saturating_add(window));
            let seen = inside(key)..inside(last);
            let weights = &mut scratch.weights[row * queries..][..queries];
            let pulls = &mut scratch.pulls[row * queries..][..queries];
            for hidden in [0..seen.start, seen.end..queries] {
                weights[hidden.clone()].fill(0.0);
                pulls[hidden].fill(0.0);
            }
            let (weights, pulls) = (&mut weights[seen.clone()], &mut pulls[seen.clone()]);
            let slopes = &mut scratch.slopes[..weights.len()];
            if let Some(cap) = self.shape.soft_cap {
                cap_with_slopes(cap, weights, slopes);
            }
            pull_keys(&lse[seen.clone()], &means[seen], weights, pulls);
            if self.shape.soft_cap.is_some() {
                multiply(slopes, pulls);
            }
        }
    }
}

fn to(start: usize, stride: usize, alpha: f32, beta: f32) -> Target<f32> {
    Target {
        start,
        stride,
        alpha,
        beta,
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn multiply(x: &[f32], y: &mut [f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y *= x);
}

fn cap_with_slopes(cap: f32, scores: &mut [f32], slopes: &mut [f32]) {
    soft_cap_fast(cap, scores);
    for (slope, score) in slopes.iter_mut().zip(scores) {
        let tangent = *score / cap;
        *slope = 1.0 - tangent * tangent;
    }
}

widest! {
    /// `weights = factor weights (pulls - mean)`.
    pub fn pull_queries(pulls: &[f32], mean: f32, factor: f32, weights: &mut [f32]) {
        for (weight, pull) in weights.iter_mut().zip(pulls) {
            *weight *= factor * (*pull - mean);
        }
    }
}

widest! {
    /// Scores become weights `exp(score - lse)`, products `pulls` become `weight (pull - mean)`.
    pub fn pull_keys(lse: &[f32], means: &[f32], weights: &mut [f32], pulls: &mut [f32]) {
        for (((weight, pull), lse), mean) in weights.iter_mut().zip(pulls).zip(lse).zip(means) {
            *weight = exp_negative(*weight - *lse);
            *pull = *weight * (*pull - *mean);
        }
    }
}
