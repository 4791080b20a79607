//! What removing each unit would cost, as each score has it: from the weights alone, from a forward pass, or from a forward
//! and a backward pass.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::moments::{LayerMoments, Moments};
use super::plan::StructurePlan;
use crate::checkpoint::Checkpoint;
use crate::gpu::{Gpu, Recording};
use crate::model::{ActivationSite, Decoder, DecoderLayer, Group, Spec};
use crate::prune::surgeon::{
    KroneckerFactor, LayerCosts, Saliency, UnitPart, column_costs, column_magnitudes, flap_scores, osscar_column_costs,
    osscar_cost, row_costs, unit_costs, wanda_sp_scores,
};
use crate::prune::{PruneError, Score};
use crate::run::RunError;
use crate::run::curvature::factors::{FactorStore, LayerFactors};
use crate::run::curvature::pass::{BackwardPass, Loss, Targets};
use crate::run::curvature::piece::pieces;
use crate::run::curvature::weigh::each_curvature;
use crate::run::progress::Progress;
use crate::tensor::Tensor;

/// A model between two shots.
pub(in crate::run) struct Present<'p> {
    pub(in crate::run) plan: &'p StructurePlan,
    pub(in crate::run) gpu: &'p Gpu,
    pub(in crate::run) spec: &'p Spec,
    pub(in crate::run) current: &'p Checkpoint,
    pub(in crate::run) ids: &'p [Vec<u32>],
    pub(in crate::run) stop: &'p AtomicBool,
    /// Targets of the backward pass.
    pub(in crate::run) targets: Targets,
}

/// What a shot knows before it removes anything.
#[derive(Default)]
pub(in crate::run) struct Measured {
    /// One per layer.
    pub(in crate::run) costs: Vec<LayerCosts>,
    /// Of each layer as a whole, where layers may go.
    pub(in crate::run) layers: Vec<f64>,
    /// Of the backward pass, where one was made.
    pub(in crate::run) loss: Option<Loss>,
    /// One per layer, for scores that need them.
    pub(in crate::run) moments: Vec<LayerMoments>,
}

impl Present<'_> {
    pub(in crate::run) fn go_on(&self) -> Result<(), RunError> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(RunError::Interrupted),
            false => Ok(()),
        }
    }

    /// Costs of all units; factors that will be needed again go to `store`.
    pub(in crate::run) fn measure(
        &self,
        store: &FactorStore,
        progress: &mut dyn Progress,
    ) -> Result<Measured, RunError> {
        match self.plan.structure.score {
            Score::Surgeon => self.by_gradients(store, progress),
            Score::Magnitude => {
                let layers = 0..self.spec.layers;
                let costs = layers.map(|layer| self.column_scores(layer, None, None));
                let costs = costs.collect::<Result<_, _>>()?;
                Ok(Measured {
                    costs,
                    ..Measured::default()
                })
            }
            Score::WandaSp | Score::Flap | Score::Osscar => self.by_inputs(store, progress),
            Score::BlockInfluence => self.by_turns(progress),
        }
    }

    fn decoder(&self) -> Result<Decoder<'_>, RunError> {
        let length = self.plan.base.options.samples.length;
        Ok(Decoder::new(self.gpu, self.current, self.spec, length)?)
    }

    fn by_gradients(&self, store: &FactorStore, progress: &mut dyn Progress) -> Result<Measured, RunError> {
        let decoder = self.decoder()?;
        let pass = BackwardPass {
            decoder: &decoder,
            ids: self.ids,
            activations: self.plan.base.activation_options(),
            fisher: self.targets,
            layers: self.plan.structure.layers,
            stop: self.stop,
        };
        let layers = self.spec.layers;
        let mut costs = Vec::new();
        let mut loss = pass.factors(store.wanted(), |layer, factors| {
            store.put(self.gpu, layer, factors)?;
            costs.push(self.curvature_costs(layer, factors)?);
            progress.layer(layer, layers - layer, 2 * layers);
            Ok(())
        })?;
        costs.reverse();
        Ok(Measured {
            costs,
            layers: std::mem::take(&mut loss.layers),
            loss: Some(loss),
            moments: Vec::new(),
        })
    }

    /// Block Influence of every layer (Men et al. 2024, arXiv 2403.03853, Eq. 2): the mean over tokens of 1 − the cosine of
    /// what enters and what leaves it.
    fn by_turns(&self, progress: &mut dyn Progress) -> Result<Measured, RunError> {
        let (decoder, layers) = (self.decoder()?, self.spec.layers);
        let mut stream = decoder.embed_with(self.ids, &self.plan.base.activation_options())?;
        let mut found = Measured {
            costs: vec![LayerCosts::default(); layers],
            ..Measured::default()
        };
        for layer in 0..layers {
            self.go_on()?;
            let weights = decoder.layer(layer)?;
            let block = decoder.block(&weights);
            let (mut sum, tokens) = (0.0, stream.tokens());
            for batch in 0..stream.batches() {
                let before = stream.read(batch)?;
                let after = decoder.pass(&stream, batch, |recording, x| block.forward(recording, &x))?;
                finite(&after, stream.hidden, || format!("the end of layer {layer}"))?;
                let rows = before.chunks(stream.hidden).zip(after.chunks(stream.hidden));
                sum += rows.map(|(x, y)| 1.0 - cosine(x, y)).sum::<f64>();
                stream.write(batch, &after)?;
            }
            found.layers.push(sum / tokens as f64);
            self.current.release_all();
            progress.layer(layer, layer + 1, 2 * layers);
        }
        Ok(found)
    }

    /// Costs of the columns of each unit, which is gone with them; of its rows too where what stays of both is updated.
    fn curvature_costs(&self, layer: usize, factors: &mut LayerFactors) -> Result<LayerCosts, RunError> {
        let (base, gpu) = (&self.plan.base, self.gpu);
        let saliency = match self.plan.structure.updates_columns() {
            true => Saliency::Obs,
            false => Saliency::Obd,
        };
        let mut lines: [Vec<Vec<f64>>; 2] = Default::default();
        let damping = base.damping();
        each_curvature((gpu, self.spec), layer, factors, damping, |site, piece, curvature| {
            let (weight, _) = piece.weight(gpu, self.current)?;
            let by = if reads_units(site) { column_costs } else { row_costs };
            lines[usize::from(site.in_mlp())].push(by(gpu, curvature, &weight, saliency)?);
            Ok(())
        })?;
        let [groups, neurons] = lines;
        Ok(LayerCosts {
            neurons: summed(&neurons, self.spec.ffn),
            groups: summed(&groups, self.spec.kv_heads),
        })
    }

    fn by_inputs(&self, store: &FactorStore, progress: &mut dyn Progress) -> Result<Measured, RunError> {
        let decoder = self.decoder()?;
        let (spec, gpu) = (self.spec, self.gpu);
        let mut stream = decoder.embed_with(self.ids, &self.plan.base.activation_options())?;
        let mut found = Measured::default();
        for layer in 0..spec.layers {
            self.go_on()?;
            let weights = decoder.layer(layer)?;
            let block = decoder.block(&weights);
            let mut moments = LayerMoments::default();
            let mut factors = match self.plan.structure.score.has_factors() {
                true => Some(LayerFactors::new(gpu, spec, [layer, decoder.sequence], store.wanted())?),
                false => None,
            };
            for batch in 0..stream.batches() {
                let x = stream.upload(gpu, batch)?;
                for (number, group) in self.touched(layer)? {
                    let Some((mut recording, rows)) = inputs(&block, &x, group.input)? else {
                        continue;
                    };
                    match &mut factors {
                        Some(factors) => {
                            factors.add_inputs(&mut recording, gpu, number, &rows);
                            gpu.submit(recording)?.wait()?;
                        }
                        None => {
                            let id = recording.read(&rows.slice());
                            let values = gpu.submit(recording)?.floats(id)?;
                            finite(&values, rows.cols(), || format!("layer {layer}, {:?}", group.input))?;
                            moments.at(group.input).add(&values, rows.cols());
                        }
                    }
                }
            }
            if let Some(factors) = &factors {
                factors.finish(gpu)?;
                store.put(gpu, layer, factors)?;
            }
            found
                .costs
                .push(self.column_scores(layer, factors.as_mut(), Some(&mut moments))?);
            found.moments.push(moments);
            decoder.advance(&mut stream, &weights)?;
            self.current.release_all();
            progress.layer(layer, layer + 1, 2 * spec.layers);
        }
        Ok(found)
    }

    /// Scores of the columns of o and down.
    fn column_scores(
        &self,
        layer: usize,
        mut factors: Option<&mut LayerFactors>,
        mut moments: Option<&mut LayerMoments>,
    ) -> Result<LayerCosts, RunError> {
        let mut costs = LayerCosts::default();
        for (number, group) in self.touched(layer)?.into_iter().filter(|(_, g)| reads_units(g.input)) {
            let in_mlp = group.input.in_mlp();
            let units = if in_mlp { self.spec.ffn } else { self.spec.kv_heads };
            for piece in pieces(&group.linears) {
                let (weight, _) = piece.weight(self.gpu, self.current)?;
                let scores = match (&mut factors, &mut moments) {
                    (Some(factors), _) => {
                        let place = format!("layer {layer}, {:?}", group.input);
                        let damping = self.plan.base.damping()[0];
                        let inputs = factors.take_inputs(self.gpu, number, damping, &place)?;
                        self.osscar(&inputs, &weight, units)?
                    }
                    (None, Some(moments)) => summed(&[self.moment_scores(&weight, moments.at(group.input))?], units),
                    (None, None) => {
                        let norms = column_magnitudes(self.gpu, &weight)?;
                        summed(&[norms.iter().map(|norm| norm * norm).collect()], units)
                    }
                };
                *(if in_mlp { &mut costs.neurons } else { &mut costs.groups }) = scores;
            }
        }
        Ok(costs)
    }

    fn moment_scores(&self, weight: &Tensor, moments: &Moments) -> Result<Vec<f64>, RunError> {
        let energy = moments.energy();
        Ok(match self.plan.structure.score {
            Score::Flap => flap_scores(self.gpu, weight, &energy, &moments.mean())?,
            _ => wanda_sp_scores(self.gpu, weight, &energy)?,
        })
    }

    /// A unit's columns together.
    fn osscar(&self, inputs: &Rc<KroneckerFactor>, weight: &Tensor, units: usize) -> Result<Vec<f64>, RunError> {
        let stride = weight.cols() / units;
        if stride == 1 {
            return Ok(osscar_column_costs(self.gpu, inputs, weight)?);
        }
        let cost = |unit: usize| {
            let cols: Vec<usize> = (unit * stride..(unit + 1) * stride).collect();
            osscar_cost(self.gpu, inputs, weight, &cols)
        };
        Ok((0..units).map(cost).collect::<Result<_, _>>()?)
    }

    /// The groups of linears that change, with their numbers.
    pub(in crate::run) fn touched(&self, layer: usize) -> Result<Vec<(usize, Group)>, RunError> {
        let groups = self.spec.groups(layer)?.into_iter().enumerate();
        Ok(groups.filter(|(_, g)| self.plan.structure.touches(g.input)).collect())
    }
}

/// Fails where a value is not finite: a score of it would be none.
fn finite(values: &[f32], cols: usize, place: impl Fn() -> String) -> Result<(), PruneError> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(at) => Err(PruneError::NonFiniteActivations {
            place: place(),
            index: at % cols,
        }),
    }
}

/// Cosine of two rows; 1 where one is zero: nothing turns.
fn cosine(x: &[f32], y: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let norms = (dot(x, x) * dot(y, y)).sqrt();
    if norms > 0.0 { dot(x, y) / norms } else { 1.0 }
}

/// Whether the columns of what reads at an activation site belong to units; else its rows do.
pub(in crate::run) fn reads_units(site: ActivationSite) -> bool {
    matches!(site, ActivationSite::AttentionOutput | ActivationSite::MlpHidden)
}

/// Records the inputs at an activation site that reads units, of a layer that `x` enters.
fn inputs(block: &DecoderLayer<'_>, x: &Tensor, site: ActivationSite) -> Result<Option<(Recording, Tensor)>, RunError> {
    let mut recording = Recording::new();
    let rows = match site {
        ActivationSite::AttentionOutput => block.activations_at(&mut recording, x, site)?,
        ActivationSite::MlpHidden if block.spec.parallel => block.activations_at(&mut recording, x, site)?,
        ActivationSite::MlpHidden => {
            let middle = block.attention_half(&mut recording, x)?;
            block.activations_at(&mut recording, &middle, site)?
        }
        _ => return Ok(None),
    };
    Ok(Some((recording, rows)))
}

/// Costs of `units` whose lines, as many in each, follow one another; none if there are no lines.
fn summed(lines: &[Vec<f64>], units: usize) -> Vec<f64> {
    let owned: Vec<Vec<Vec<usize>>> = (lines.iter())
        .map(|costs| {
            let stride = costs.len() / units;
            (0..units)
                .map(|unit| (unit * stride..(unit + 1) * stride).collect())
                .collect()
        })
        .collect();
    let parts: Vec<UnitPart<'_>> = (lines.iter().zip(&owned))
        .map(|(costs, lines)| UnitPart { costs, lines })
        .collect();
    unit_costs(&parts)
}
