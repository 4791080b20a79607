//! The backward pass of a shot: the factors of one layer after the other, from the last.

use std::sync::atomic::{AtomicBool, Ordering};

use super::factors::{LayerFactors, Wanted};
use crate::gpu::Recording;
use crate::model::{ActivationOptions, Decoder, LinearGradient, next_tokens};
use crate::run::RunError;

/// What the pass reads.
pub(in crate::run) struct BackwardPass<'p> {
    pub(in crate::run) decoder: &'p Decoder<'p>,
    pub(in crate::run) ids: &'p [Vec<u32>],
    pub(in crate::run) activations: ActivationOptions,
    pub(in crate::run) wanted: Wanted,
    /// Asked between layers.
    pub(in crate::run) stop: &'p AtomicBool,
}

impl BackwardPass<'_> {
    /// Gives every layer's complete factors to `each`, the last layer's first.
    pub(in crate::run) fn run(
        &self,
        mut each: impl FnMut(usize, &mut LayerFactors) -> Result<(), RunError>,
    ) -> Result<Loss, RunError> {
        let decoder = self.decoder;
        let (gpu, spec) = (decoder.gpu, decoder.spec);
        let go_on = |_| !self.stop.load(Ordering::Relaxed);
        let trace = decoder.trace_while(self.ids, &self.activations, go_on)?;
        let trace = trace.ok_or(RunError::Interrupted)?;
        let mut entering = trace.entering;
        let mut loss = decoder.loss_gradient(&trace.leaving, &next_tokens(self.ids))?;
        drop(trace.leaving);
        let found = Loss::of(&loss.losses, &loss.skipped)?;
        while let Some(stream) = entering.pop() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(RunError::Interrupted);
            }
            let layer = entering.len();
            let mut factors = LayerFactors::new(gpu, spec, layer, self.wanted)?;
            {
                let weights = decoder.layer(layer)?;
                let mut visit = |recording: &mut Recording, found: LinearGradient<'_>| {
                    factors.add(recording, gpu, &found);
                    Ok(())
                };
                decoder.layer_backward(&weights, &stream, &mut loss, &mut visit)?;
            }
            decoder.checkpoint.release_all();
            factors.finish(gpu)?;
            each(layer, &mut factors)?;
        }
        Ok(found)
    }
}

/// The loss a shot began with.
pub(in crate::run) struct Loss {
    /// Of the samples that had one, in nats a token.
    pub(in crate::run) mean: f64,
    pub(in crate::run) skipped: usize,
}

impl Loss {
    fn of(losses: &[f64], skipped: &[usize]) -> Result<Self, RunError> {
        let finite: Vec<f64> = losses.iter().copied().filter(|loss| loss.is_finite()).collect();
        if finite.is_empty() || skipped.len() == losses.len() {
            let message =
                "no calibration sample has a finite loss: the model or its file is damaged (`secateur eval` tells)";
            return Err(RunError::Setting(message.into()));
        }
        Ok(Loss {
            mean: finite.iter().sum::<f64>() / finite.len() as f64,
            skipped: skipped.len(),
        })
    }
}
