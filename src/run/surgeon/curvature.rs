//! The pass that gathers the curvature: forwards through the model, then backwards, one layer's factors at a time.

use std::sync::atomic::{AtomicBool, Ordering};

use super::factors::LayerFactors;
use crate::model::{ActivationOptions, Decoder, LinearGradient, next_tokens};
use crate::run::RunError;

/// What the pass goes through.
pub(in crate::run) struct CurvaturePass<'p, 'a> {
    pub(in crate::run) decoder: &'p Decoder<'a>,
    pub(in crate::run) ids: &'p [Vec<u32>],
    pub(in crate::run) activations: ActivationOptions,
    pub(in crate::run) stop: &'p AtomicBool,
}

impl CurvaturePass<'_, '_> {
    fn interrupted(&self) -> Result<(), RunError> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(RunError::Interrupted),
            false => Ok(()),
        }
    }

    /// Hands out the factors of every layer, the last layer's first.
    pub(in crate::run) fn run(
        &self,
        mut each: impl FnMut(usize, LayerFactors) -> Result<(), RunError>,
    ) -> Result<Loss, RunError> {
        let (decoder, gpu) = (self.decoder, self.decoder.gpu);
        let go_on = |_| self.interrupted().is_ok();
        let trace = decoder.trace_while(self.ids, &self.activations, go_on)?;
        let trace = trace.ok_or(RunError::Interrupted)?;
        let mut entering = trace.entering;
        let mut loss = decoder.loss_gradient(&trace.leaving, &next_tokens(self.ids))?;
        drop(trace.leaving);
        let found = Loss::of(&loss.losses, &loss.skipped)?;
        while let Some(stream) = entering.pop() {
            self.interrupted()?;
            let layer = entering.len();
            let mut factors = LayerFactors::new(gpu, decoder.spec, layer)?;
            {
                let weights = decoder.layer(layer)?;
                let mut visit = |recording: &mut _, found: LinearGradient<'_>| {
                    factors.add(recording, gpu, &found);
                    Ok(())
                };
                decoder.layer_backward(&weights, &stream, &mut loss, &mut visit)?;
            }
            decoder.checkpoint.release_all();
            factors.finish(gpu)?;
            each(layer, factors)?;
        }
        Ok(found)
    }
}

/// The loss a shot began with.
pub(in crate::run) struct Loss {
    /// Of the samples that had one, in nats a token.
    pub(super) mean: f64,
    pub(super) skipped: usize,
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
