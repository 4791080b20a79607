//! The loss and its gradient with respect to the stream that leaves the last layer, vocabulary tile by tile: one pass for
//! the softmax of every row, one for the gradient. Tokens x vocabulary is never in memory at once.

use std::ops::Range;

use super::norms::norm_backward;
use crate::gpu::{Buffer, Recording};
use crate::model::head::{Row, portions};
use crate::model::linear::linear_backward;
use crate::model::weights::NormWeights;
use crate::model::{ActivationOptions, Activations, Decoder, ModelError, Weight};
use crate::ops::{dense, nn};
use crate::tensor::{DType, Tensor};

/// Losses of sequences and the gradient of their sum.
pub struct LossGradient {
    /// Mean cross entropy of each sequence's targets in nats; NaN or infinite in skipped ones.
    pub losses: Vec<f64>,
    /// Gradient with respect to a stream, first that which leaves the last layer; f32, and zero in skipped sequences.
    pub stream: Activations,
    /// Sequences without a finite loss and gradient, ascending: they have no part in the backward pass.
    pub skipped: Vec<usize>,
}

impl LossGradient {
    /// Whether each sequence of a batch takes part.
    pub(super) fn kept(&self, batch: usize) -> Vec<bool> {
        let sequences = self.stream.rows(batch) / self.stream.sequence;
        let first = batch * self.stream.per_batch();
        (first..first + sequences)
            .map(|s| self.skipped.binary_search(&s).is_err())
            .collect()
    }
}

/// Targets of a batch and the factor of each row's gradient.
struct Targets {
    ids: Buffer,
    factors: Option<Tensor>,
}

impl Decoder<'_> {
    /// The mean cross entropy of each sequence and the gradient of their sum with respect to `leaving`, the stream that
    /// leaves the last layer. `targets`: one id per position, `u32::MAX` where there is none, as
    /// [`next_tokens`](super::next_tokens) makes them. A sequence whose loss or gradient is not finite, or that has no
    /// target, is skipped.
    pub fn loss_gradient(&self, leaving: &Activations, targets: &[Vec<u32>]) -> Result<LossGradient, ModelError> {
        let wrong = targets.iter().find(|t| t.len() != leaving.sequence);
        assert!(wrong.is_none(), "loss_gradient: {:?} targets", wrong.map(Vec::len));
        assert_eq!(
            targets.len() * leaving.sequence,
            leaving.tokens(),
            "loss_gradient: sequences"
        );
        // The gradient of a mean over many tokens is too small for f16.
        let options = ActivationOptions {
            dtype: DType::F32,
            ..leaving.options().clone()
        };
        let mut found = LossGradient {
            losses: Vec::with_capacity(targets.len()),
            stream: Activations::new(targets.len(), leaving.sequence, leaving.hidden, &options)?,
            skipped: Vec::new(),
        };
        for portion in portions(self.gpu, leaving) {
            self.portion_gradient(leaving, targets, portion, &mut found)?;
        }
        Ok(found)
    }

    fn portion_gradient(
        &self,
        leaving: &Activations,
        targets: &[Vec<u32>],
        portion: Range<usize>,
        found: &mut LossGradient,
    ) -> Result<(), ModelError> {
        let per_batch = leaving.per_batch();
        let of_batch = |batch: usize| &targets[batch * per_batch..][..leaving.rows(batch) / leaving.sequence];
        let rows = self.prepare(leaving, portion.clone(), 4)?;
        let mut wanted = Vec::with_capacity(rows.len());
        for batch in portion.clone() {
            let ids = self
                .gpu
                .upload("target ids", bytemuck::cast_slice(&of_batch(batch).concat()))?;
            wanted.push(Targets { ids, factors: None });
        }
        self.for_each_tile(&rows, |first, weight| {
            for (row, target) in rows.iter().zip(&wanted) {
                let mut recording = Recording::new();
                let logits = self.logits(&mut recording, row, weight)?;
                nn::cross_entropy(&mut recording, &logits, &target.ids.slice(), first, &row.state);
                self.gpu.submit(recording)?;
            }
            Ok(())
        })?;
        for ((batch, row), wanted) in portion.clone().zip(&rows).zip(&mut wanted) {
            let state = row.state.fetch(self.gpu)?;
            let factors = found.score(&state, of_batch(batch));
            wanted.factors = Some(Tensor::upload(self.gpu, "loss factors", factors.len(), 1, &factors)?);
        }
        let gradients = self.hidden_gradients(&rows, &wanted)?;
        for (batch, dhidden) in portion.zip(gradients) {
            self.final_norm_backward(leaving, batch, dhidden, found)?;
        }
        Ok(())
    }

    /// Gradients of the head's input, a tensor per batch.
    fn hidden_gradients(&self, rows: &[Row], targets: &[Targets]) -> Result<Vec<Tensor>, ModelError> {
        let like = |row: &Row| Tensor::empty(self.gpu, "final gradient", row.hidden.rows(), row.hidden.cols());
        let gradients = rows.iter().map(like).collect::<Result<Vec<_>, _>>()?;
        self.for_each_tile(rows, |first, weight| {
            for ((row, target), dhidden) in rows.iter().zip(targets).zip(&gradients) {
                let mut recording = Recording::new();
                let dlogits = self.logits_backward(&mut recording, row, target, (first, weight))?;
                linear_backward(&mut recording, self.gpu, &dlogits, weight, dhidden, first > 0);
                self.gpu.submit(recording)?;
            }
            Ok(())
        })?;
        Ok(gradients)
    }

    /// Gradient of one tile of logits before their cap.
    fn logits_backward(
        &self,
        recording: &mut Recording,
        row: &Row,
        target: &Targets,
        (first, weight): (usize, &Weight),
    ) -> Result<Tensor, ModelError> {
        let factors = target.factors.as_ref().expect("rows are scored before their gradient");
        let logits = self.raw_logits(recording, row, weight)?;
        let dlogits = match self.spec.logits_cap {
            None => logits.clone(),
            Some(cap) => {
                let capped = Tensor::empty(self.gpu, "capped logits", logits.rows(), logits.cols())?;
                recording.copy(&logits.slice(), &capped.slice());
                nn::soft_cap(recording, cap, &capped);
                capped
            }
        };
        nn::cross_entropy_backward(recording, [&row.state, factors], &target.ids.slice(), first, &dlogits);
        if let Some(cap) = self.spec.logits_cap {
            nn::soft_cap_backward(recording, cap, &logits, &dlogits);
        }
        Ok(dlogits)
    }

    /// Takes a batch's gradient through the final norm and keeps it; zeros in skipped sequences.
    fn final_norm_backward(
        &self,
        leaving: &Activations,
        batch: usize,
        dhidden: Tensor,
        found: &mut LossGradient,
    ) -> Result<(), ModelError> {
        let spec = self.spec;
        let norm = NormWeights::load(self.gpu, self.checkpoint, spec, &spec.final_norm(), spec.hidden)?;
        let x = leaving.upload(self.gpu, batch)?;
        let mut recording = Recording::new();
        let dx = norm_backward(&mut recording, self.gpu, spec, &norm, [&x, &dhidden])?;
        let scaled = Tensor::empty(self.gpu, "stream gradient", dx.rows(), dx.cols())?;
        dense::axpby(&mut recording, spec.logits_scale, &dx, 0.0, &scaled);
        let id = recording.read(&scaled.slice());
        let mut values = self.gpu.submit(recording)?.floats(id)?;
        let first = batch * leaving.per_batch();
        for (i, sequence) in values.chunks_mut(leaving.sequence * leaving.hidden).enumerate() {
            let lost = !found.losses[first + i].is_finite() || sequence.iter().any(|v| !v.is_finite());
            if lost {
                sequence.fill(0.0);
                found.skipped.push(first + i);
            }
        }
        found.stream.write(batch, &values)?;
        Ok(())
    }
}

impl LossGradient {
    /// Appends the losses of a batch and returns the factor of each row's gradient: one over its sequence's targets, zero
    /// where there is no target or no finite loss.
    fn score(&mut self, state: &[f32], targets: &[Vec<u32>]) -> Vec<f32> {
        let mut factors = Vec::with_capacity(state.len() / 4);
        for (state, targets) in state.chunks(4 * self.stream.sequence).zip(targets) {
            let scored = state.chunks(4).zip(targets).filter(|(_, target)| **target != u32::MAX);
            let nll = |s: &[f32]| f64::from(s[0]) + f64::from(s[1]).ln() - f64::from(s[2]);
            let (sum, count) = scored.fold((0.0, 0.0), |(sum, count), (s, _)| (sum + nll(s), count + 1.0));
            let loss: f64 = sum / count;
            let factor = if loss.is_finite() { 1.0 / count } else { 0.0 };
            let of = |target: &u32| if *target == u32::MAX { 0.0 } else { factor as f32 };
            factors.extend(targets.iter().map(of));
            self.losses.push(loss);
        }
        factors
    }
}
