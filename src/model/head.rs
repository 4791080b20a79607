//! Final norm and head, vocabulary tile by tile: tokens x vocabulary is never in memory at once.

use std::ops::Range;

use super::decoder::{VOCABULARY_BYTES, binding, even};
use super::decoder_layer::normalise;
use super::weights::{NormWeights, finite_from};
use super::{Activations, Decoder, ModelError, Spec, Weight, linear, next_tokens};
use crate::gpu::{Buffer, Gpu, Recording};
use crate::ops::{dense, nn};
use crate::tensor::{DType, Tensor};

/// Columns of a tile of logits at most; with 2048 rows that is 32 MiB.
const TILE: usize = 4096;
/// Bytes of final hidden states on the device at once; the head passes once for each such portion.
const PORTION: usize = 256 << 20;
/// Of a budget, the part that these take at most: their gradients, or those of another model, take the same again.
const PORTION_SHARE: u64 = 8;

/// Loss of one position and whether the most likely next token was the right one.
#[derive(Clone, Copy, Debug)]
pub struct TokenLoss {
    /// Negative log-likelihood of the next token in nats.
    pub nll: f64,
    /// Most likely next token.
    pub top: u32,
}

/// Divergence of two models at one position.
#[derive(Clone, Copy, Debug)]
pub struct DivergenceState {
    /// KL(P‖Q) in nats.
    pub kl: f64,
    /// Whether both put the same token first.
    pub same_top: bool,
}

/// Normalised hidden states of one batch and what is known of its rows so far.
pub(super) struct Row {
    pub(super) hidden: Tensor,
    pub(super) state: Tensor,
}

impl Decoder<'_> {
    /// Loss of every position but the last of each sequence; `ids` are the sequences that gave `activations`.
    pub fn losses(&self, activations: &Activations, ids: &[Vec<u32>]) -> Result<Vec<Vec<TokenLoss>>, ModelError> {
        let targets = self.targets(activations, ids)?;
        let mut losses = Vec::with_capacity(ids.len());
        for portion in portions(self.gpu, activations) {
            let rows = self.prepare(activations, portion.clone(), 4)?;
            self.for_each_tile(&rows, |first, weight| {
                for (row, target) in rows.iter().zip(&targets[portion.clone()]) {
                    let mut recording = Recording::new();
                    let logits = self.logits(&mut recording, row, weight)?;
                    nn::cross_entropy(&mut recording, &logits, &target.slice(), first, &row.state);
                    self.gpu.submit(recording)?;
                }
                Ok(())
            })?;
            for row in rows {
                losses.extend(token_losses(&row.state.fetch(self.gpu)?, activations.sequence));
            }
        }
        Ok(losses)
    }

    /// The next token of every position, by batch; none after the last of a sequence.
    fn targets(&self, activations: &Activations, ids: &[Vec<u32>]) -> Result<Vec<Buffer>, ModelError> {
        let batches = ids.chunks(activations.per_batch());
        let targets = batches.map(|batch| {
            let next = next_tokens(batch).concat();
            self.gpu.upload("target ids", bytemuck::cast_slice(&next))
        });
        Ok(targets.collect::<Result<_, _>>()?)
    }

    /// Divergence KL(self‖other) at every position of every sequence.
    pub fn divergence(
        &self,
        activations: &Activations,
        other: &Decoder<'_>,
        others: &Activations,
    ) -> Result<Vec<DivergenceState>, ModelError> {
        Ok(self.divergence_and_losses(activations, (other, others), &[])?.0)
    }

    /// The same, and what [`Self::losses`] gives of `other` on `ids`, whose head passes once for both; no losses without
    /// `ids`.
    pub fn divergence_and_losses(
        &self,
        activations: &Activations,
        (other, others): (&Decoder<'_>, &Activations),
        ids: &[Vec<u32>],
    ) -> Result<(Vec<DivergenceState>, Vec<Vec<TokenLoss>>), ModelError> {
        let targets = other.targets(others, ids)?;
        let (mut divergences, mut losses) = (Vec::new(), Vec::new());
        for portion in portions(self.gpu, activations) {
            let p_rows = self.prepare(activations, portion.clone(), 8)?;
            let q_rows = other.prepare(others, portion.clone(), 4)?;
            let targets = if ids.is_empty() { &[] } else { &targets[portion] };
            self.for_each_tile(&p_rows, |first, p_weight| {
                let q_weight = other.head_tile(first, p_weight.outputs())?;
                for (number, (p, q)) in p_rows.iter().zip(&q_rows).enumerate() {
                    let mut recording = Recording::new();
                    let p_logits = self.logits(&mut recording, p, p_weight)?;
                    let q_logits = other.logits(&mut recording, q, &q_weight)?;
                    nn::divergence(&mut recording, &p_logits, &q_logits, first, &p.state);
                    if let Some(target) = targets.get(number) {
                        nn::cross_entropy(&mut recording, &q_logits, &target.slice(), first, &q.state);
                    }
                    self.gpu.submit(recording)?;
                }
                Ok(())
            })?;
            for row in p_rows {
                divergences.extend(row.state.fetch(self.gpu)?.chunks(8).map(divergence_of));
            }
            for row in &q_rows[..targets.len()] {
                losses.extend(token_losses(&row.state.fetch(self.gpu)?, others.sequence));
            }
        }
        Ok((divergences, losses))
    }

    /// Logits of one batch of activations, `[rows, vocabulary]` row-major; for tests and small vocabularies.
    pub fn all_logits(&self, activations: &Activations, batch: usize) -> Result<Vec<f32>, ModelError> {
        let rows = self.prepare(activations, batch..batch + 1, 1)?;
        let (count, vocabulary) = (rows[0].hidden.rows(), self.spec.vocabulary);
        let mut out = vec![0.0; count * vocabulary];
        self.for_each_tile(&rows, |first, weight| {
            let mut recording = Recording::new();
            let logits = self.logits(&mut recording, &rows[0], weight)?;
            let id = recording.read(&logits.slice());
            let values = self.gpu.submit(recording)?.floats(id)?;
            for (r, row) in values.chunks(weight.outputs()).enumerate() {
                out[r * vocabulary + first..][..row.len()].copy_from_slice(row);
            }
            Ok(())
        })?;
        Ok(out)
    }

    /// Applies the final norm to some batches.
    pub(super) fn prepare(
        &self,
        activations: &Activations,
        batches: Range<usize>,
        state: usize,
    ) -> Result<Vec<Row>, ModelError> {
        let spec = self.spec;
        let norm = NormWeights::load(self.gpu, self.checkpoint, spec, &spec.final_norm(), spec.hidden)?;
        batches
            .map(|batch| {
                let x = activations.upload(self.gpu, batch)?;
                let state = Tensor::empty(self.gpu, "loss state", x.rows(), state)?;
                let mut recording = Recording::new();
                let mut hidden = normalise(&mut recording, self.gpu, spec, &norm, &x)?;
                if spec.logits_scale != 1.0 {
                    // The head is linear: its input is scaled once instead of every tile of logits.
                    let scaled = Tensor::empty(self.gpu, "final hidden", x.rows(), x.cols())?;
                    dense::axpby(&mut recording, spec.logits_scale, &hidden, 0.0, &scaled);
                    hidden = scaled;
                }
                self.gpu.submit(recording)?;
                Ok(Row { hidden, state })
            })
            .collect()
    }

    /// Hands out the head in tiles whose logits, for any of `batches`, fit a binding.
    pub(super) fn for_each_tile(
        &self,
        batches: &[Row],
        mut work: impl FnMut(usize, &Weight) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let tokens = batches.iter().map(|b| b.hidden.rows()).max().unwrap_or(1);
        let step = tile(self.gpu, tokens, self.spec.hidden);
        for first in (0..self.spec.vocabulary).step_by(step) {
            work(first, &self.head_tile(first, step)?)?;
        }
        Ok(())
    }

    fn head_tile(&self, first: usize, step: usize) -> Result<Weight, ModelError> {
        let spec = self.spec;
        let view = self
            .checkpoint
            .tensor_of_shape(&spec.head(), &[spec.vocabulary, spec.hidden])?;
        let (rows, row) = (step.min(spec.vocabulary - first), spec.hidden * view.dtype.size());
        let bytes = &view.bytes[first * row..(first + rows) * row];
        finite_from(&view, first * spec.hidden, bytes)?;
        let tile = Weight::upload(self.gpu, "head tile", [rows, spec.hidden], view.dtype, bytes);
        // Of all tensors the largest, and mapped pages count as the process's own.
        self.checkpoint.release(&spec.head());
        tile
    }

    /// Logits of one tile before their cap.
    pub(super) fn raw_logits(
        &self,
        recording: &mut Recording,
        row: &Row,
        weight: &Weight,
    ) -> Result<Tensor, ModelError> {
        let logits = Tensor::empty(self.gpu, "logits", row.hidden.rows(), weight.outputs())?;
        linear(recording, self.gpu, &row.hidden, weight, &logits, false);
        Ok(logits)
    }

    pub(super) fn logits(&self, recording: &mut Recording, row: &Row, weight: &Weight) -> Result<Tensor, ModelError> {
        let logits = self.raw_logits(recording, row, weight)?;
        if let Some(cap) = self.spec.logits_cap {
            nn::soft_cap(recording, cap, &logits);
        }
        Ok(logits)
    }
}

/// Ranges of batches whose final hidden states are on the device together.
pub(super) fn portions(gpu: &Gpu, activations: &Activations) -> impl Iterator<Item = Range<usize>> {
    let rows = activations.per_batch() * activations.sequence;
    let (step, all) = (portion(gpu, rows, activations.hidden), activations.batches());
    (0..all).step_by(step).map(move |first| first..(first + step).min(all))
}

/// Batches of such a portion, of `rows` each.
fn portion(gpu: &Gpu, rows: usize, hidden: usize) -> usize {
    let allowed = gpu.budget().map_or(u64::MAX, |budget| budget / PORTION_SHARE);
    let bytes = usize::try_from(allowed).unwrap_or(usize::MAX).min(PORTION);
    (bytes / (4 * rows * hidden).max(1)).max(1)
}

/// Columns of a tile of logits of batches of `rows`.
fn tile(gpu: &Gpu, rows: usize, hidden: usize) -> usize {
    let fitting = (VOCABULARY_BYTES / (hidden * 4)).min(binding(gpu) / (rows * 4));
    even(fitting.min(TILE))
}

/// Device memory of [`Decoder::loss_gradient`] for a stream of `tokens` in batches of `rows`, in bytes; `head` is the stored
/// type of the head.
pub fn loss_gradient_bytes(gpu: &Gpu, spec: &Spec, head: DType, [tokens, rows]: [usize; 2]) -> u64 {
    let (rows, hidden) = (rows.min(tokens).max(1), spec.hidden);
    let together = tokens.min(rows.saturating_mul(portion(gpu, rows, hidden)));
    // Per row its final hidden state and the gradient of that, the state of its loss, target and factor.
    let portion = 4 * together * (2 * hidden + 6);
    let columns = tile(gpu, rows, hidden).min(spec.vocabulary);
    let element = if gpu.in_host_memory() { 4 } else { head.size() };
    let logits = if spec.logits_cap.is_some() { 2 } else { 1 };
    let tiles = columns * hidden * element + 4 * logits * rows * columns;
    // In the end, batch by batch: what the norm read, its gradient, and that scaled.
    (portion + tiles.max(4 * 3 * rows * hidden)) as u64
}

/// Device memory of [`Decoder::divergence_and_losses`] for streams of `tokens` in batches of `rows`, in bytes; with one `model`
/// of [`Decoder::losses`].
pub fn evaluation_bytes(gpu: &Gpu, spec: &Spec, head: DType, [tokens, rows]: [usize; 2], models: usize) -> u64 {
    let (rows, hidden) = (rows.min(tokens).max(1), spec.hidden);
    let together = tokens.min(rows.saturating_mul(portion(gpu, rows, hidden)));
    // Per row its final hidden state and the state of its loss, or of the divergence, which is twice that; and a target.
    let portion = 4 * together * (models * hidden + if models > 1 { 12 } else { 4 }) + 4 * tokens;
    let columns = tile(gpu, rows, hidden).min(spec.vocabulary);
    let element = if gpu.in_host_memory() { 4 } else { head.size() };
    let tiles = models * (columns * hidden * element + 4 * rows * columns);
    (portion + tiles.max(4 * 2 * rows * hidden)) as u64
}

/// By sequence, without its last position, after which nothing comes.
fn token_losses(state: &[f32], sequence: usize) -> impl Iterator<Item = Vec<TokenLoss>> {
    let sequences = state.chunks(4 * sequence);
    sequences.map(move |s| s[..4 * (sequence - 1)].chunks(4).map(token_loss).collect())
}

/// State layout of `nn/cross_entropy`: maximum, sum of exponentials, target logit, most likely id.
fn token_loss(state: &[f32]) -> TokenLoss {
    let nll = f64::from(state[0]) + f64::from(state[1]).ln() - f64::from(state[2]);
    TokenLoss {
        nll,
        top: state[3] as u32,
    }
}

/// State layout of `nn/divergence`: max p, sum p, max q, sum q, cross term, top p, top q.
fn divergence_of(state: &[f32]) -> DivergenceState {
    let s = |i: usize| f64::from(state[i]);
    let (log_zp, log_zq) = (s(0) + s(1).ln(), s(2) + s(3).ln());
    DivergenceState {
        kl: s(4) / s(1) - log_zp + log_zq,
        same_top: state[5] == state[6],
    }
}
