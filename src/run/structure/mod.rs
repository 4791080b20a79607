//! Whole neurons and attention heads removed, so that the model becomes smaller: shot after shot what each unit costs, how many
//! of each go, and a checkpoint of the new shapes, which the next shot reads.
//!
//! A unit of an MLP is a row of gate and up and a column of down; one of attention is a key/value head with its query heads:
//! their rows of q, k and v and columns of o. A shot measures all layers (`measure`), decides over the model
//! ([`crate::prune::surgeon::SizeTarget`]), then cuts layer by layer (`cut`). Folders, states and the backward pass are those of
//! [`super::surgeon()`]. Start reading at [`structure`].

mod cut;
mod measure;
mod moments;
mod plan;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

pub use plan::{Layout, Promise, Score, StructureOptions, StructurePlan, Update};

use super::report::{calibration_record, continued, total, verify};
use super::samples::{TokenIds, samples};
use super::state::{RunIdentity, RunState};
use super::surgeon::factors::FactorStore;
use super::surgeon::pass::Loss;
use super::surgeon::{begin, begin_report, suspended};
use super::walk::Progress;
use super::{RunError, peak_resident};
use crate::checkpoint::{Checkpoint, CheckpointWriter, NewFolder, Reshaping};
use crate::gpu::Gpu;
use crate::model::{ModelError, Spec};
use crate::prune::surgeon::{Cut, Widths};
use crate::report::{LinearRecord, ModelSize, PruneReport, ShotRecord, Shrunk};
use cut::Surgery;
use measure::{Measured, Present};

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
    let start = Instant::now();
    let (options, shots) = (&plan.base.options, plan.base.surgeon.shots);
    let output = &options.output;
    let mut folder = begin(&plan.base, checkpoint)?;
    progress.stage("tokenise");
    let set = samples(options, checkpoint)?;
    let mut report = PruneReport {
        calibration: calibration_record(options, &set),
        ..report_of(plan, checkpoint, gpu)
    };
    let identity = RunIdentity {
        model: checkpoint.fingerprint(),
        tokens: report.calibration.token_hash.clone(),
        settings: plan.base.settings.clone(),
    };
    let mut done = 0;
    if let Some(state) = RunState::load(output)? {
        state.check(&identity, output)?;
        report = continued(&state, report)?;
        done = state.layers_done;
        folder.keep();
        progress.stage(&format!("resumed after {done} of {shots} shots"));
    }
    report.phases.prepare += start.elapsed().as_secs_f64();
    let mut run = Run {
        plan,
        original: checkpoint,
        gpu,
        ids: &set.ids,
        identity,
        folder: &mut folder,
        report,
        progress,
        stop,
    };
    let result = (done..shots).try_for_each(|shot| {
        done = shot;
        run.shot(shot)
    });
    let mut report = run.report;
    result.map_err(|error| suspended(error, output, done, shots))?;
    folder.finish()?;
    report.memory.device_peak = gpu.peak_bytes();
    report.memory.host_peak = peak_resident();
    Ok(report)
}

struct Run<'r, 'a> {
    plan: &'a StructurePlan,
    original: &'a Checkpoint,
    gpu: &'a Gpu,
    ids: &'r TokenIds,
    identity: RunIdentity,
    folder: &'r mut NewFolder,
    report: PruneReport,
    progress: &'r mut dyn Progress,
    stop: &'r AtomicBool,
}

impl Run<'_, '_> {
    /// The checkpoint of a shot that is not the last.
    fn path(&self, shots_done: usize) -> PathBuf {
        self.folder.state().join(format!("shot-{shots_done}"))
    }

    /// From the checkpoint of the shot before to the next.
    fn shot(&mut self, shot: usize) -> Result<(), RunError> {
        let clock = Instant::now();
        let (plan, shots) = (self.plan, self.plan.base.surgeon.shots);
        let earlier = match shot {
            0 => None,
            _ => Some(Checkpoint::open(&self.path(shot))?),
        };
        let current = earlier.as_ref().unwrap_or(self.original);
        let spec = plan.base.spec.of_same_family(current)?;
        let present = Present {
            plan,
            gpu: self.gpu,
            spec: &spec,
            current,
            ids: self.ids,
            stop: self.stop,
        };
        self.progress.stage(&format!("shot {} of {shots}: costs", shot + 1));
        let store = FactorStore::create(self.folder.state().join("factors"), plan.structure.wanted())?;
        let measured = present.measure(&store, self.progress)?;
        self.report.phases.capture += clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        let share = (shot + 1) as f64 / shots as f64;
        let cut = plan.cut(widths(&spec), share, &measured.costs);
        let to = spec.resized(cut.widths.neurons, cut.widths.groups);
        let heads = format!(
            "{} neurons, {} heads, {} key/value heads",
            to.ffn, to.heads, to.kv_heads
        );
        self.progress
            .stage(&format!("shot {} of {shots}: to {heads} a layer", shot + 1));
        let last = shot + 1 == shots;
        let next = self.path(shot + 1);
        let reshaping = reshaping(&spec, &to, current)?;
        let mut writer = if last {
            CheckpointWriter::within_reshaped(current, &plan.base.options.output, reshaping)?
        } else {
            let _ = fs::remove_dir_all(&next);
            CheckpointWriter::create_reshaped(current, &next, reshaping)?
        };
        let surgery = Surgery {
            present: &present,
            to: &to,
        };
        self.report.linears = self.cut(&surgery, &cut, &store, &measured, &mut writer)?;
        self.report.phases.solve += clock.elapsed().as_secs_f64();
        self.note(shot, &cut, &spec, &measured.loss);
        if last {
            return self.finish(writer, &to, padding(&spec, &cut));
        }
        self.keep(writer, shot)
    }

    /// Every layer cut as decided.
    fn cut(
        &mut self,
        surgery: &Surgery<'_>,
        cut: &Cut,
        store: &FactorStore,
        measured: &Measured,
        writer: &mut CheckpointWriter<'_>,
    ) -> Result<Vec<LinearRecord>, RunError> {
        let (present, mut records) = (surgery.present, Vec::new());
        let layers = present.spec.layers;
        for (layer, removed) in cut.layers.iter().enumerate() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(RunError::Interrupted);
            }
            let mut factors = match self.plan.structure.score.has_factors() {
                true => Some(store.get(self.gpu, present.spec, layer)?),
                false => None,
            };
            let statistics = (factors.as_mut(), measured.moments.get(layer));
            records.extend(surgery.layer(layer, removed, statistics, writer)?);
            present.current.release_all();
            self.progress.layer(layer, layers + layer + 1, 2 * layers);
        }
        Ok(records)
    }

    fn note(&mut self, shot: usize, cut: &Cut, spec: &Spec, loss: &Option<Loss>) {
        let target = &self.plan.target;
        let [neurons, groups] = padding(spec, cut).map(|units| units as u64);
        let removed = target.removed(cut.widths) + neurons * target.neuron + groups * target.group;
        self.report.shots.push(ShotRecord {
            shot: shot + 1,
            sparsity: removed as f64 / self.plan.base.weights as f64,
            removed,
            loss: loss.as_ref().map(|loss| loss.mean),
            skipped_samples: loss.as_ref().map_or(0, |loss| loss.skipped),
        });
    }

    /// Makes the shot durable.
    fn keep(&mut self, writer: CheckpointWriter<'_>, shot: usize) -> Result<(), RunError> {
        let clock = Instant::now();
        writer.finish(&[])?;
        let report = serde_json::to_value(&self.report).expect("a report is plain data");
        let state = RunState::new(self.identity.clone(), shot + 1, report, false);
        state.commit(&self.plan.base.options.output, None)?;
        self.folder.keep();
        if shot > 0 {
            let old = self.path(shot);
            fs::remove_dir_all(&old).map_err(|e| self.folder.failed(&old, e))?;
        }
        self.report.phases.write += clock.elapsed().as_secs_f64();
        Ok(())
    }

    /// Writes what remains, opens the result again and counts.
    fn finish(&mut self, mut writer: CheckpointWriter<'_>, to: &Spec, padded: [usize; 2]) -> Result<(), RunError> {
        let clock = Instant::now();
        self.progress.stage("write and verify");
        let plan = self.plan;
        let report = &mut self.report;
        report.totals = total(&report.linears);
        report.warnings = plan.notes.clone();
        if plan.structure.score == Score::Flap && !has_biases(plan)? {
            report.warnings.push(format!(
                "FLAP adds what removed units gave on average to the biases; family `{}` has none here, so nothing makes up for them",
                plan.base.family
            ));
        }
        let skipped = report.shots.iter().map(|s| s.skipped_samples).max().unwrap_or(0);
        if skipped > 0 {
            report.warnings.push(format!(
                "{skipped} calibration samples had no finite loss and were left out; the model may be damaged"
            ));
        }
        let before = size(self.original, &plan.base.spec, [0, 0])?;
        // As planned; held against the files below.
        let mut after = size_of(to, padded)?;
        after.parameters =
            before.parameters - (plan::linear_parameters(&plan.base.spec)? - plan::linear_parameters(to)?);
        report.shrunk = Some(Shrunk { before, after });
        let json = serde_json::to_string_pretty(&report.reproducible()).expect("a report is plain data");
        writer.place(&[("pruning_report.json", json.as_bytes())])?;
        let output = &plan.base.options.output;
        verify(output, report)?;
        let written = Checkpoint::open(output)?;
        let found = size(&written, &plan.base.spec.of_same_family(&written)?, padded)?;
        if found != after {
            return Err(RunError::Setting(format!(
                "verification failed: {} was written with {found:?} instead of {after:?}; report this as a bug",
                output.display()
            )));
        }
        report.phases.write += clock.elapsed().as_secs_f64();
        Ok(())
    }
}

fn widths(spec: &Spec) -> Widths {
    Widths {
        neurons: spec.ffn,
        groups: spec.kv_heads,
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

/// The shapes of `to` for a checkpoint of `spec`.
fn reshaping(spec: &Spec, to: &Spec, current: &Checkpoint) -> Result<Reshaping, ModelError> {
    let mut reshaping = Reshaping {
        config: Some(spec.resized_config(current.config(), to)),
        ..Reshaping::default()
    };
    for layer in 0..spec.layers {
        for (old, new) in spec.linears_of(layer)?.iter().zip(to.linears_of(layer)?) {
            if old.shape == new.shape {
                continue;
            }
            if let Some(bias) = new.bias.clone().filter(|_| old.shape[0] != new.shape[0]) {
                reshaping.shapes.insert(bias, vec![new.shape[0]]);
            }
            reshaping.shapes.insert(new.tensor.clone(), new.stored_shape().to_vec());
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
    settings.score = Some(plan.structure.score.name());
    settings.update = (plan.structure.score == Score::Surgeon).then(|| plan.structure.update.name());
    settings.layout = Some(plan.structure.layout.name());
    settings.round = plan.structure.ffn.then_some(plan.target.round);
    settings.max_correlate = None;
    if plan.structure.score != Score::Surgeon {
        settings.output_damping = None;
    }
    settings.allocation = match plan.structure.layout {
        Layout::Uniform => "uniform".into(),
        Layout::Padded => "global".into(),
    };
    report
}
