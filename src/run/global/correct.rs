//! Between shots: low-rank corrections of all linears, learned on the calibration samples and absorbed into the weights.
//!
//! A step takes one sample forwards and backwards through the whole model, a layer on the device at a time, and moves every
//! correction by Adam at a rate that falls to zero.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::time::Instant;

use super::corrections::{Corrections, OfLayer};
use super::report::warn_of_corrections;
use super::shots::Shots;
use crate::checkpoint::{Checkpoint, CheckpointWriter, Reshaping, encode};
use crate::gpu::{Gpu, Recording};
use crate::linalg;
use crate::model::{Decoder, LinearGradient, Spec};
use crate::prune::AdamStep;
use crate::report::CorrectionRecord;
use crate::run::RunError;
use crate::run::curvature::pass::{BackwardPass, Loss, Targets};
use crate::run::curvature::piece::{Stored, pieces};
use crate::tensor::Tensor;

/// Times a correction is saved on its way: a crash loses as much of it at most.
const SAVES: usize = 10;

impl Shots<'_> {
    /// Corrects what a shot left.
    pub(in crate::run) fn correct(&mut self, shot: usize) -> Result<(), RunError> {
        let clock = Instant::now();
        let (plan, gpu) = (self.plan, self.gpu);
        let pruned = self.earlier()?.expect("a shot was before");
        let spec = plan.spec.of_same_family(&pruned)?;
        let low_rank = plan.surgeon.low_rank;
        let seed = plan.options.samples.seed.wrapping_add((shot as u64) << 32);
        let mut corrections = Corrections::new(&spec, low_rank.rank, seed)?;
        let shots = plan.surgeon.shots;
        self.progress.stage(&format!(
            "shot {} of {shots}: {} steps of a rank-{} correction",
            shot + 1,
            low_rank.steps,
            low_rank.rank
        ));
        let kept = self.folder_of(&format!("corrections-{}.safetensors", shot + 1));
        let mut losses = corrections.load(&kept)?.unwrap_or_default();
        while losses.len() < low_rank.steps {
            let number = losses.len();
            let sample = (shot * low_rank.steps + number) % self.samples.all.ids.len();
            let loss = match self.descend((&pruned, &spec), &mut corrections, [number, sample]) {
                Ok(loss) => Some(loss.mean).filter(|mean| mean.is_finite()),
                Err(error) => {
                    // What stopped it is the error to report, whether or not this can be kept.
                    if corrections.save(&kept, &losses).is_ok() {
                        self.steps_done = number;
                    }
                    return Err(error);
                }
            };
            losses.push(loss);
            self.progress.step(number + 1, low_rank.steps, loss.unwrap_or(f64::NAN));
            if losses.len().is_multiple_of(low_rank.steps.div_ceil(SAVES)) {
                corrections.save(&kept, &losses)?;
            }
        }
        self.note_correction(&losses)?;
        let mut writer = self.writer(&pruned, Reshaping::default())?;
        for layer in 0..spec.layers {
            absorb((gpu, &spec), (layer, &corrections), &pruned, &mut writer)?;
            pruned.release_all();
        }
        self.report.phases.solve += clock.elapsed().as_secs_f64();
        self.leave(writer)?;
        drop(pruned);
        self.commit()?;
        let _ = fs::remove_file(kept);
        Ok(())
    }

    /// One step, on one sample.
    fn descend(
        &self,
        (pruned, spec): (&Checkpoint, &Spec),
        corrections: &mut Corrections,
        [number, sample]: [usize; 2],
    ) -> Result<Loss, RunError> {
        let (plan, gpu) = (self.plan, self.gpu);
        let low_rank = plan.surgeon.low_rank;
        let mut gradients = BTreeMap::new();
        let decoder = Decoder::new(gpu, pruned, spec, plan.options.samples.length)?.amended(&*corrections);
        let pass = BackwardPass {
            decoder: &decoder,
            ids: std::slice::from_ref(&self.samples.all.ids[sample]),
            activations: plan.activation_options(),
            fisher: Targets::Next,
            layers: false,
            stop: self.stop,
        };
        let loss = pass.run(|layer, back| {
            let mut sums: OfLayer<Tensor> = BTreeMap::new();
            back(&mut |recording: &mut Recording, found: LinearGradient<'_>| {
                let LinearGradient { id, input, gradient } = found;
                let sum = match sums.entry(id) {
                    Entry::Occupied(sum) => sum.into_mut(),
                    Entry::Vacant(none) => {
                        let (rows, cols) = (gradient.cols(), input.cols());
                        none.insert(Tensor::zeros(gpu, recording, "weight gradient", rows, cols)?)
                    }
                };
                linalg::add_product(recording, gpu, [gradient, input], sum);
                Ok(())
            })?;
            for piece in pieces(&spec.linears_of(layer)?) {
                if let Some(sum) = sums.remove(&piece.id) {
                    let (values, _) = piece.values(pruned)?;
                    let correction = &corrections.layers[layer][&piece.id];
                    gradients.insert((layer, piece.id), correction.gradient(gpu, sum, &values)?);
                }
            }
            Ok(())
        })?;
        let step = AdamStep {
            number: number + 1,
            rate: low_rank.rate * (1.0 - number as f64 / low_rank.steps as f64),
        };
        corrections.step(&gradients, step);
        Ok(loss)
    }

    fn note_correction(&mut self, losses: &[Option<f64>]) -> Result<(), RunError> {
        // Each a pass over all samples, or the first and the last half of the steps.
        let ends = losses.len().div_ceil(2).min(self.samples.all.ids.len());
        let mean = |losses: &[Option<f64>]| -> Loss {
            let finite: Vec<f64> = losses.iter().flatten().copied().collect();
            Loss::of(&finite, &[])
        };
        let all = mean(losses).of_any_sample()?.mean;
        // An end may be one sample, and that one without a loss.
        let of_end = |losses| Some(mean(losses).mean).filter(|mean| mean.is_finite()).unwrap_or(all);
        let loss = [of_end(&losses[..ends]), of_end(&losses[losses.len() - ends..])];
        let record = CorrectionRecord {
            rank: self.plan.surgeon.low_rank.rank,
            rate: self.plan.surgeon.low_rank.rate,
            steps: losses.len(),
            skipped_steps: losses.iter().filter(|loss| loss.is_none()).count(),
            loss,
        };
        let shot = self.report.shots.last_mut().expect("a shot was before");
        shot.correction = Some(record);
        let last = self.report.shots.len() - 1;
        self.report
            .warnings
            .extend(warn_of_corrections(&self.report.shots[last..]));
        Ok(())
    }
}

/// Writes a layer's corrected linears.
fn absorb(
    (gpu, spec): (&Gpu, &Spec),
    (layer, corrections): (usize, &Corrections),
    pruned: &Checkpoint,
    writer: &mut CheckpointWriter<'_>,
) -> Result<(), RunError> {
    for linear in spec.linears_of(layer)? {
        let mut whole = Stored::of(&linear, pruned)?;
        for piece in pieces(std::slice::from_ref(&linear)) {
            let (values, dtype) = piece.values(pruned)?;
            let corrected = corrections.layers[layer][&piece.id]
                .corrected(gpu, &values)?
                .fetch(gpu)?;
            if corrected.iter().any(|value| !value.is_finite()) {
                return Err(RunError::Diverged {
                    tensor: linear.tensor.clone(),
                });
            }
            // Where the weight is zero it stays so.
            whole.put(piece.part, &encode(&corrected, &values, dtype), [0.0; 2]);
        }
        writer.put(&linear.tensor, &whole.stored(&linear))?;
    }
    Ok(())
}
