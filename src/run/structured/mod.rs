//! Whole neurons, attention heads and layers removed, so that the model becomes smaller: shot after shot what each unit costs, how many
//! of each go, and a checkpoint of the new shapes, which the next shot reads.
//!
//! A unit of an MLP is a row of gate and up and a column of down; one of attention is a key/value head with its query heads:
//! their rows of q, k and v and columns of o. Layers that stay are renumbered. A shot measures all layers (`measure`), decides over the model
//! ([`crate::prune::surgeon::DepthTarget`]), then cuts layer by layer (`cut`). Folders, states and the backward pass are those of
//! [`super::surgeon()`]. Start reading at [`structure`].

mod cut;
mod measure;
mod moments;
mod options;
mod plan;

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::checkpoint::{Checkpoint, CheckpointWriter, Reshaping};
use crate::gpu::Gpu;
use crate::model::{ModelError, Spec};
use crate::prune::Score;
use crate::prune::surgeon::{Cut, DepthCut, Sizes, Widths};
use crate::report::{LinearRecord, ModelSize, PruneReport, ShotRecord, Shrunk};
use crate::run::RunError;
use crate::run::curvature::factors::FactorStore;
use crate::run::curvature::pass::Loss;
use crate::run::global::report::begin_report;
use crate::run::global::shots::{Shots, Watch, in_shots};
use crate::run::progress::Progress;
use cut::Surgery;
use measure::{Measured, Present};

pub use options::{Layout, StructureOptions, Update};
pub use plan::{Promise, StructurePlan};

/// Removes structures of the plan's checkpoint and writes the smaller model; `stop` is asked between layers.
///
/// Whatever stops it after the first shot leaves the finished shots in the output, to be resumed.
pub fn structure(
    plan: &StructurePlan,
    checkpoint: &Checkpoint,
    gpu: &Gpu,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<PruneReport, RunError> {
    let begun = report_of(plan, checkpoint, gpu);
    let report = in_shots(
        &plan.base,
        (checkpoint, gpu),
        Watch { progress, stop },
        begun,
        |shots, shot| Run { plan, shots }.shot(shot),
    )?;
    verify(plan, &report)?;
    Ok(report)
}

struct Run<'r, 's> {
    plan: &'r StructurePlan,
    shots: &'r mut Shots<'s>,
}

impl Run<'_, '_> {
    /// From the checkpoint of the shot before to the next.
    fn shot(&mut self, shot: usize) -> Result<(), RunError> {
        let clock = Instant::now();
        let (plan, shots) = (self.plan, self.plan.base.surgeon.shots);
        let earlier = self.shots.earlier()?;
        let current = earlier.as_ref().unwrap_or(self.shots.original);
        let spec = plan.base.spec.of_same_family(current)?;
        let present = Present {
            plan,
            gpu: self.shots.gpu,
            spec: &spec,
            current,
            ids: self.shots.samples.of(shot),
            stop: self.shots.stop,
            targets: plan.base.targets(shot),
        };
        self.shots
            .progress
            .stage(&format!("shot {} of {shots}: costs", shot + 1));
        let store = self.shots.store(plan.structure.wanted())?;
        let measured = present.measure(&store, self.shots.progress)?;
        self.shots.report.phases.capture += clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        let share = (shot + 1) as f64 / shots as f64;
        let DepthCut { gone, cut } = plan.cut(sizes(&spec), share, (&measured.costs, &measured.layers));
        let kept: Vec<usize> = (0..spec.layers).filter(|l| gone.binary_search(l).is_err()).collect();
        let to = spec.keeping(&kept).resized(cut.widths.neurons, cut.widths.groups);
        let sizes = format!(
            "{} layers of {} neurons, {} heads, {} key/value heads",
            to.layers, to.ffn, to.heads, to.kv_heads
        );
        self.shots
            .progress
            .stage(&format!("shot {} of {shots}: to {sizes}", shot + 1));
        let mut writer = self.shots.writer(current, reshaping(&spec, &to, &kept, current)?)?;
        let surgery = Surgery {
            present: &present,
            to: &to,
        };
        self.shots.report.linears = self.cut(&surgery, (&kept, &cut), (&store, &measured), &mut writer)?;
        self.shots.report.phases.solve += clock.elapsed().as_secs_f64();
        self.note(shot, (&gone, &cut), &spec, &measured.loss);
        self.sum_up(&to, padding(&spec, &cut))?;
        self.shots.leave(writer)?;
        drop(earlier);
        self.shots.commit()
    }

    /// Every layer cut as decided.
    fn cut(
        &mut self,
        surgery: &Surgery<'_>,
        (kept, cut): (&[usize], &Cut),
        (store, measured): (&FactorStore, &Measured),
        writer: &mut CheckpointWriter<'_>,
    ) -> Result<Vec<LinearRecord>, RunError> {
        let (present, mut records) = (surgery.present, Vec::new());
        let layers = present.spec.layers;
        for (new, (layer, removed)) in kept.iter().copied().zip(&cut.layers).enumerate() {
            self.shots.interrupted()?;
            let mut factors = match self.plan.structure.score.has_factors() {
                true => Some(store.get(self.shots.gpu, present.spec, layer)?),
                false => None,
            };
            let statistics = (factors.as_mut(), measured.moments.get(layer));
            records.extend(surgery.layer([layer, new], removed, statistics, writer)?);
            present.current.release_all();
            self.shots.progress.layer(layer, layers + layer + 1, 2 * layers);
        }
        Ok(records)
    }

    fn note(&mut self, shot: usize, (gone, cut): (&[usize], &Cut), spec: &Spec, loss: &Option<Loss>) {
        let target = &self.plan.target;
        let [neurons, groups] = padding(spec, cut).map(|units| units as u64);
        let left = Sizes {
            layers: cut.layers.len(),
            widths: cut.widths,
        };
        let removed = target.removed(left) + neurons * target.units.neuron + groups * target.units.group;
        let shots = &self.shots.report.shots;
        let before: Vec<usize> = shots.iter().flat_map(|shot| &shot.layers).copied().collect();
        let present = (0..self.plan.base.spec.layers).filter(|layer| !before.contains(layer));
        let present: Vec<usize> = present.collect();
        let layers = gone.iter().map(|layer| present[*layer]).collect();
        self.shots.report.shots.push(ShotRecord {
            shot: shot + 1,
            sparsity: removed as f64 / self.plan.base.weights as f64,
            removed,
            loss: loss.as_ref().map(|loss| loss.mean),
            skipped_samples: loss.as_ref().map_or(0, |loss| loss.skipped),
            layers,
            ..Default::default()
        });
    }

    /// Sums the report up, with the sizes before and after a shot.
    fn sum_up(&mut self, to: &Spec, padded: [usize; 2]) -> Result<(), RunError> {
        let plan = self.plan;
        let mut warnings = plan.notes.clone();
        if plan.structure.score == Score::Flap && !has_biases(plan)? {
            warnings.push(format!(
                "FLAP adds what removed units gave on average to the biases; family `{}` has none here, so nothing makes up for them",
                plan.base.family
            ));
        }
        self.shots.sum_up(warnings);
        let before = size(self.shots.original, &plan.base.spec, [0, 0])?;
        // As planned; held against the files in the end.
        let mut after = size_of(to, padded)?;
        after.parameters = before.parameters - plan.gone(to)?;
        self.shots.report.shrunk = Some(Shrunk { before, after });
        Ok(())
    }
}

/// Opens the result again and holds its sizes against the report's.
fn verify(plan: &StructurePlan, report: &PruneReport) -> Result<(), RunError> {
    let (base, output) = (&plan.base, &plan.base.options.output);
    let after = &report.shrunk.as_ref().expect("a shot was summed up").after;
    let written = Checkpoint::open(output)?;
    let spec = base.spec.of_same_family(&written)?;
    let found = size(&written, &spec, [after.padded_neurons, after.padded_kv_heads])?;
    let gone: Vec<usize> = report.shots.iter().flat_map(|shot| &shot.layers).copied().collect();
    let kept: Vec<usize> = (0..base.spec.layers).filter(|layer| !gone.contains(layer)).collect();
    if found != *after || spec.kinds != base.spec.keeping(&kept).kinds {
        return Err(RunError::WrongSizes {
            output: output.display().to_string(),
            found: format!("{found:?}"),
            wanted: format!("{after:?}"),
        });
    }
    Ok(())
}

fn sizes(spec: &Spec) -> Sizes {
    Sizes {
        layers: spec.layers,
        widths: Widths {
            neurons: spec.ffn,
            groups: spec.kv_heads,
        },
    }
}

/// Neurons and groups of all layers that are only zeros after a cut.
fn padding(spec: &Spec, cut: &Cut) -> [usize; 2] {
    let layers = cut.layers.iter();
    layers.fold([0, 0], |[neurons, groups], layer| {
        [
            neurons + cut.widths.neurons + layer.neurons.len() - spec.ffn,
            groups + cut.widths.groups + layer.groups.len() - spec.kv_heads,
        ]
    })
}

/// The names and shapes of `to`, which has the `kept` layers, for a checkpoint of `spec`.
fn reshaping(spec: &Spec, to: &Spec, kept: &[usize], current: &Checkpoint) -> Result<Reshaping, ModelError> {
    let mut reshaping = Reshaping {
        config: Some(spec.resized_config(current.config(), to, kept)),
        ..Reshaping::default()
    };
    for layer in 0..spec.layers {
        let old = spec.layer_prefix(layer);
        let names = current.names().filter(|name| name.starts_with(&old));
        match kept.binary_search(&layer) {
            Err(_) => reshaping.dropped.extend(names.map(str::to_string)),
            Ok(new) if new != layer => {
                let new = spec.layer_prefix(new);
                let renamed = names.map(|name| (name.to_string(), format!("{new}{}", &name[old.len()..])));
                reshaping.renamed.extend(renamed);
            }
            Ok(_) => {}
        }
    }
    for (new, layer) in kept.iter().enumerate() {
        for (old, new) in spec.linears_of(*layer)?.iter().zip(to.linears_of(new)?) {
            if old.shape == new.shape {
                continue;
            }
            if let Some(bias) = old.bias.clone().filter(|_| old.shape[0] != new.shape[0]) {
                reshaping.shapes.insert(bias, vec![new.shape[0]]);
            }
            reshaping.shapes.insert(old.tensor.clone(), new.stored_shape().to_vec());
        }
    }
    Ok(reshaping)
}

fn has_biases(plan: &StructurePlan) -> Result<bool, ModelError> {
    let linears = plan.base.spec.groups(0)?.into_iter();
    let mut linears = linears
        .filter(|group| plan.structure.touches(group.input) && measure::reads_units(group.input))
        .flat_map(|group| group.linears);
    Ok(linears.all(|linear| linear.bias.is_some()))
}

fn size_of(spec: &Spec, [padded_neurons, padded_kv_heads]: [usize; 2]) -> Result<ModelSize, ModelError> {
    let layers = 0..spec.layers;
    Ok(ModelSize {
        layers: spec.layers,
        ffn: spec.ffn,
        heads: spec.heads,
        kv_heads: spec.kv_heads,
        head_dim: spec.head_dim,
        parameters: 0,
        decoder_weights: layers
            .map(|l| Ok(spec.layer_weights(l)? as u64))
            .sum::<Result<_, ModelError>>()?,
        padded_neurons,
        padded_kv_heads,
    })
}

/// What is in the files.
fn size(checkpoint: &Checkpoint, spec: &Spec, padded: [usize; 2]) -> Result<ModelSize, ModelError> {
    Ok(ModelSize {
        parameters: checkpoint.parameters() as u64,
        ..size_of(spec, padded)?
    })
}

fn report_of(plan: &StructurePlan, checkpoint: &Checkpoint, gpu: &Gpu) -> PruneReport {
    let mut report = begin_report(&plan.base, checkpoint, gpu);
    let settings = &mut report.settings;
    settings.structure = Some(plan.structure.name());
    settings.score = Some(plan.structure.score.name().to_string());
    settings.update = (plan.structure.score == Score::Surgeon).then(|| plan.structure.update.name().into());
    settings.layout = Some(plan.structure.layout.name().into());
    settings.round = plan.structure.ffn.then_some(plan.target.units.round);
    settings.max_correlate = None;
    if plan.structure.score != Score::Surgeon {
        settings.output_damping = None;
        settings.fisher = None;
    }
    settings.allocation = match plan.structure.layout {
        Layout::Uniform => "uniform".into(),
        Layout::Padded => "global".into(),
    };
    report
}
