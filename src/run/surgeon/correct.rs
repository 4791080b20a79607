//! Between shots: low-rank corrections of all linears, learned on the calibration samples and absorbed into the weights.
//!
//! A step takes one sample forwards and backwards through the whole model, a layer on the device at a time, and moves every
//! correction by Adam at a rate that falls to zero.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Instant;

use super::pass::{BackwardPass, Loss, Targets};
use super::prune::{Stored, pieces};
use super::shots::Shots;
use crate::checkpoint::{Checkpoint, CheckpointWriter, Reshaping};
use crate::gpu::{Gpu, Recording};
use crate::linalg;
use crate::model::{Amend, Decoder, LayerWeights, LinearGradient, LinearId, ModelError, Spec};
use crate::prune::{AdamStep, LowRank, LowRankGradient};
use crate::report::CorrectionRecord;
use crate::run::RunError;
use crate::run::encode::encode;
use crate::tensor::{DType, Tensor};

/// Corrections of every linear of a layer.
type OfLayer<T> = BTreeMap<LinearId, T>;

/// Corrections of a whole checkpoint.
struct Corrections {
    layers: Vec<OfLayer<LowRank>>,
}

impl Corrections {
    fn new(spec: &Spec, rank: usize, seed: u64) -> Result<Self, RunError> {
        let mut number = 0;
        let layer = |layer| {
            let mut all = BTreeMap::new();
            for piece in pieces(&spec.linears_of(layer)?) {
                number += 1;
                all.insert(piece.id, LowRank::new(piece.shape(), rank, seed + number));
            }
            Ok(all)
        };
        let layers = (0..spec.layers).map(layer).collect::<Result<_, RunError>>()?;
        Ok(Corrections { layers })
    }

    /// Moves all of them; a linear without a gradient, an expert no token came to, stays.
    fn step(&mut self, gradients: &BTreeMap<(usize, LinearId), LowRankGradient>, step: AdamStep) {
        for ((layer, id), gradient) in gradients {
            let correction = self.layers[*layer].get_mut(id);
            correction.expect("a linear of the layer").step(gradient, step);
        }
    }
}

impl Amend for Corrections {
    fn amend(&self, decoder: &Decoder<'_>, weights: &mut LayerWeights) -> Result<(), ModelError> {
        let (gpu, layer) = (decoder.gpu, weights.layer);
        for piece in pieces(&decoder.spec.linears_of(layer)?) {
            let (values, _) = piece.values(decoder.checkpoint)?;
            let corrected = self.layers[layer][&piece.id].corrected(gpu, &values)?;
            weights.replace(gpu, piece.id, corrected)?;
        }
        Ok(())
    }
}

impl Shots<'_> {
    /// Corrects what a shot left.
    pub(super) fn correct(&mut self, shot: usize) -> Result<(), RunError> {
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
        let mut losses = Vec::with_capacity(low_rank.steps);
        for number in 0..low_rank.steps {
            let sample = (shot * low_rank.steps + number) % self.ids.len();
            let loss = self.descend((&pruned, &spec), &mut corrections, [number, sample])?;
            losses.push(loss.mean);
            self.progress.step(number + 1, low_rank.steps, loss.mean);
        }
        let mut writer = self.writer(&pruned, Reshaping::default())?;
        for layer in 0..spec.layers {
            absorb((gpu, &spec), (layer, &corrections), &pruned, &mut writer)?;
            pruned.release_all();
        }
        self.note_correction(&losses);
        self.report.phases.solve += clock.elapsed().as_secs_f64();
        self.leave(writer)?;
        drop(pruned);
        self.commit()
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
            ids: std::slice::from_ref(&self.ids[sample]),
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

    fn note_correction(&mut self, losses: &[f64]) {
        let ends = losses.len().min(self.ids.len());
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let record = CorrectionRecord {
            rank: self.plan.surgeon.low_rank.rank,
            steps: losses.len(),
            loss: [mean(&losses[..ends]), mean(&losses[losses.len() - ends..])],
        };
        let shot = self.report.shots.last_mut().expect("a shot was before");
        shot.correction = Some(record);
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
            let (values, dtype): (Vec<f32>, DType) = piece.values(pruned)?;
            let corrected = corrections.layers[layer][&piece.id].corrected(gpu, &values)?;
            // Where the weight is zero it stays so.
            whole.put(piece.part, &encode(&corrected.fetch(gpu)?, &values, dtype), [0.0; 2]);
        }
        writer.put(&linear.tensor, &whole.stored(&linear))?;
    }
    Ok(())
}
