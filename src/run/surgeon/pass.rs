//! The backward pass of a shot: the factors of one layer after the other, from the last.

use std::sync::atomic::{AtomicBool, Ordering};

use super::factors::{LayerFactors, Wanted, nats_of_a_layer};
use crate::gpu::Recording;
use crate::model::{ActivationOptions, Activations, Decoder, LinearGradient, LossGradient, Visit, next_tokens};
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
        let (mut entering, mut leaving) = (trace.entering, Some(trace.leaving));
        let mut loss = {
            let leaving = leaving.as_ref().expect("just put");
            let targets = match self.fisher {
                Targets::Next => next_tokens(self.ids),
                Targets::Drawn(seed) => decoder.sample_targets(leaving, seed)?,
            };
            decoder.loss_gradient(leaving, &targets)?
        };
        let mut found = Loss::of(&loss.losses, &loss.skipped);
        while let Some(stream) = entering.pop() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(RunError::Interrupted);
            }
            let layer = entering.len();
            // Whatever is not needed goes before more is made.
            let left = leaving.take().filter(|_| self.layers);
            if let Some(left) = left {
                found.layers.push(layer_cost([&stream, &left], &loss)?);
            }
            each(layer, &mut |visit| {
                let weights = decoder.layer(layer)?;
                decoder.layer_backward(&weights, &stream, &mut loss, visit)?;
                decoder.checkpoint.release_all();
                Ok(())
            })?;
            leaving = self.layers.then_some(stream);
        }
        found.layers.reverse();
        Ok(found)
    }
}

/// What removing a layer costs, in nats a token: with a factor `a` on what it adds to the stream, `x + a (y − x)`, half the mean square of a
/// sample's `dl/da` at `a = 1` is the loss at `a = 0` as the Fisher information of the factor expects it (the first-order
/// Taylor score of Molchanov et al. 2019, arXiv 1906.10771, with one gate for the layer). Skipped samples have no gradient.
fn layer_cost([entering, leaving]: [&Activations; 2], loss: &LossGradient) -> Result<f64, RunError> {
    let sample = entering.sequence * entering.hidden;
    let (mut sum, mut first) = (0.0, 0);
    for batch in 0..entering.batches() {
        let [x, y] = [entering.read(batch)?, leaving.read(batch)?];
        let gradient = loss.stream.read(batch)?;
        for (i, ((x, y), g)) in x
            .chunks(sample)
            .zip(y.chunks(sample))
            .zip(gradient.chunks(sample))
            .enumerate()
        {
            if loss.skipped.binary_search(&(first + i)).is_err() {
                let added = x.iter().zip(y).map(|(x, y)| f64::from(*y) - f64::from(*x));
                let slope: f64 = added.zip(g).map(|(d, g)| d * f64::from(*g)).sum();
                sum += slope * slope;
            }
        }
        first += x.len() / sample;
    }
    let mean = sum / (loss.losses.len() - loss.skipped.len()).max(1) as f64;
    Ok(0.5 * mean * nats_of_a_layer(entering.sequence))
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
    pub(super) fn of(losses: &[f64], skipped: &[usize]) -> Self {
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
    pub(super) fn of_any_sample(self) -> Result<Self, RunError> {
        if self.mean.is_finite() {
            return Ok(self);
        }
        let message =
            "no calibration sample has a finite loss: the model or its file is damaged (`secateur eval` tells)";
        Err(RunError::Setting(message.into()))
    }
}
