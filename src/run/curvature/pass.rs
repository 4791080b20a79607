//! The backward pass of a shot: the factors of one layer after the other, from the last.

use std::sync::atomic::{AtomicBool, Ordering};

use super::factors::{LayerFactors, Wanted};
use crate::gpu::Recording;
use crate::model::{ActivationOptions, Activations, Decoder, LinearGradient, LossGradient, Trace, Visit, next_tokens};
use crate::run::RunError;

/// What every position is to predict.
#[derive(Clone, Copy, Debug)]
pub(in crate::run) enum Targets {
    /// The token after it.
    Next,
    /// One drawn from the model's own distribution with this seed.
    Drawn(u64),
}

/// What the pass reads.
pub(in crate::run) struct BackwardPass<'p> {
    pub(in crate::run) decoder: &'p Decoder<'p>,
    pub(in crate::run) ids: &'p [Vec<u32>],
    pub(in crate::run) activations: ActivationOptions,
    /// Which targets the gradients are of.
    pub(in crate::run) fisher: Targets,
    /// Whether to measure what each layer as a whole does to the loss ([`Loss::layers`]).
    pub(in crate::run) layers: bool,
    /// Asked between layers.
    pub(in crate::run) stop: &'p AtomicBool,
}

/// Takes the gradient back through the layer at hand; its linears are heard of.
pub(in crate::run) type Back<'b> = dyn FnMut(&mut Visit<'_>) -> Result<(), RunError> + 'b;

impl BackwardPass<'_> {
    /// Gives every layer's complete factors to `each`, the last layer's first.
    pub(in crate::run) fn factors(
        &self,
        wanted: Wanted,
        mut each: impl FnMut(usize, &mut LayerFactors) -> Result<(), RunError>,
    ) -> Result<Loss, RunError> {
        let (gpu, spec) = (self.decoder.gpu, self.decoder.spec);
        let found = self.run(|layer, back| {
            let mut factors = LayerFactors::new(gpu, spec, [layer, self.decoder.sequence], wanted)?;
            back(&mut |recording: &mut Recording, found: LinearGradient<'_>| {
                factors.add(recording, gpu, &found);
                Ok(())
            })?;
            factors.finish(gpu)?;
            each(layer, &mut factors)
        })?;
        found.of_any_sample()
    }

    /// Comes by every layer, the last first; `each` has to go back through it. Samples without a finite loss are not heard
    /// of; if there is no other, nothing is.
    pub(in crate::run) fn run(
        &self,
        mut each: impl FnMut(usize, &mut Back<'_>) -> Result<(), RunError>,
    ) -> Result<Loss, RunError> {
        let decoder = self.decoder;
        let go_on = |_| !self.stop.load(Ordering::Relaxed);
        let trace = decoder.trace_while(self.ids, &self.activations, go_on)?;
        let trace = trace.ok_or(RunError::Interrupted)?;
        let targets = match self.fisher {
            Targets::Next => next_tokens(self.ids),
            Targets::Drawn(seed) => decoder.sample_targets(&trace.leaving, seed)?,
        };
        let mut loss = decoder.loss_gradient(&trace.leaving, &targets)?;
        let mut found = Loss::of(&loss.losses, &loss.skipped);
        if self.layers {
            found.layers = self.without_each_layer(&trace, &loss)?;
        }
        let mut entering = trace.entering;
        drop(trace.leaving);
        while let Some(stream) = entering.pop() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(RunError::Interrupted);
            }
            let layer = entering.len();
            each(layer, &mut |visit| {
                let weights = decoder.layer(layer)?;
                decoder.layer_backward(&weights, &stream, &mut loss, visit)?;
                decoder.checkpoint.release_all();
                Ok(())
            })?;
        }
        Ok(found)
    }

    /// What removing each layer costs: how far the predictions for one batch of samples are from the model's own, KL divergence
    /// in nats a token, when what enters the layer goes on to the next. (The Fisher information of units is this divergence
    /// to second order.) Measured, because a layer is too much for a quadratic model around what is there: by the
    /// information of a gate on what it adds, SmolLM2-135M gave up a layer and neurons for a fifth of its size, and had
    /// a perplexity of 53.4 instead of 45.7 by neurons alone.
    fn without_each_layer(&self, trace: &Trace, loss: &LossGradient) -> Result<Vec<f64>, RunError> {
        let (decoder, streams) = (self.decoder, &trace.entering);
        let per_batch = trace.leaving.per_batch();
        let finite = |batch: usize| {
            let all = batch * per_batch..((batch + 1) * per_batch).min(self.ids.len());
            all.filter(|sample| loss.skipped.binary_search(sample).is_err()).count()
        };
        // The first with the most samples that have a loss.
        let batch = (0..trace.leaving.batches())
            .rev()
            .max_by_key(|batch| finite(*batch))
            .unwrap_or(0);
        let samples = &self.ids[batch * per_batch..((batch + 1) * per_batch).min(self.ids.len())];
        let part_of = |stream: &Activations| -> Result<Activations, RunError> {
            let options = ActivationOptions {
                ram_budget: None,
                ..stream.options().clone()
            };
            let mut part = Activations::new(samples.len(), stream.sequence, stream.hidden, &options)?;
            part.write(0, &stream.read(batch)?)?;
            Ok(part)
        };
        let whole = part_of(&trace.leaving)?;
        let mut costs = Vec::with_capacity(streams.len());
        for (layer, stream) in streams.iter().enumerate() {
            let mut stream = part_of(stream)?;
            for later in layer + 1..streams.len() {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(RunError::Interrupted);
                }
                decoder.advance(&mut stream, &decoder.layer(later)?)?;
                decoder.checkpoint.release_all();
            }
            let states = decoder.divergence(&whole, decoder, &stream)?;
            let (mut sum, mut count) = (0.0, 0);
            for (sample, states) in states.chunks(stream.sequence).enumerate() {
                if loss.skipped.binary_search(&(batch * per_batch + sample)).is_err() {
                    sum += states.iter().map(|s| s.kl).sum::<f64>();
                    count += states.len();
                }
            }
            // A layer of which nothing can be told is not one to remove.
            let mean = sum / count as f64;
            costs.push(if mean.is_finite() { mean } else { f64::INFINITY });
        }
        Ok(costs)
    }
}

/// The loss a shot began with.
pub(in crate::run) struct Loss {
    /// Of the samples that had one, in nats a token; NaN if none had.
    pub(in crate::run) mean: f64,
    pub(in crate::run) skipped: usize,
    /// What removing each layer costs, if it was asked for.
    pub(in crate::run) layers: Vec<f64>,
}

impl Loss {
    pub(in crate::run) fn of(losses: &[f64], skipped: &[usize]) -> Self {
        let finite: Vec<f64> = losses.iter().copied().filter(|loss| loss.is_finite()).collect();
        let mean = match skipped.len() == losses.len() {
            true => f64::NAN,
            false => finite.iter().sum::<f64>() / finite.len() as f64,
        };
        Loss {
            mean,
            skipped: skipped.len(),
            layers: Vec::new(),
        }
    }

    /// Fails if no sample had a loss.
    pub(in crate::run) fn of_any_sample(self) -> Result<Self, RunError> {
        if self.mean.is_finite() {
            return Ok(self);
        }
        let message =
            "no calibration sample has a finite loss: the model or its file is damaged (`secateur eval` tells)";
        Err(RunError::Setting(message.into()))
    }
}
