//! The walk over decoder layers: capture (or read) the inputs, prune (or save them), replay, commit, next layer. Once,
//! for every method and family, and built so that it can stop after any layer and go on from there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::permute::{follow, mark_followers, unpermuted, warn_of_order};
use super::plan::Plan;
use super::report::{begin_report, calibrated, calibration_record, total, warn_of_experts};
use super::solve::Solver;
use super::source::LayerInputs;
use super::state::{RunIdentity, RunState};
use super::statistics::{Manifest, StatisticsWriter};
use super::{RunError, peak_resident};
use crate::calib::{CalibrationSet, Corpus, Tokenizer, draw};
use crate::checkpoint::{Checkpoint, CheckpointWriter, NewFolder, OutputLock};
use crate::gpu::Gpu;
use crate::model::{Activations, Decoder, Group};
use crate::prune::{GramStatistics, InputStatistics, Permutation};
use crate::report::{CalibrateReport, CalibrationRecord, LinearRecord, PruneReport};

/// What a run tells while it works.
pub trait Progress {
    /// A linear is done; `done` of `total` linears.
    fn linear(&mut self, done: usize, total: usize, record: &LinearRecord);
    /// A decoder layer is done, `done` of `total` linears with it.
    fn layer(&mut self, layer: usize, done: usize, total: usize);
    /// A stage outside the layers begins.
    fn stage(&mut self, name: &str);
}

/// Prunes the plan's checkpoint and writes the result; `stop` is asked between linears.
///
/// Whatever stops it after the first decoder layer leaves the finished layers in the output, to be resumed.
pub fn prune(
    plan: &Plan,
    checkpoint: &Checkpoint,
    gpu: &Gpu,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<PruneReport, RunError> {
    let start = Instant::now();
    let output = &plan.options.output;
    // A bad output is refused before hours of work.
    let begun = Begun::at(plan, checkpoint)?;
    let (calibration, ids) = calibration(plan, checkpoint, progress)?;
    let identity = RunIdentity {
        model: checkpoint.fingerprint(),
        tokens: calibration.token_hash.clone(),
        settings: plan.settings.clone(),
    };
    let decoder = Decoder::new(gpu, checkpoint, &plan.spec, plan.options.samples.length)?;
    let mut report = begin_report(plan, checkpoint, gpu, calibration);
    let options = plan.activation_options();
    let (mut writer, activations, first) = match begun {
        Begun::Earlier(state, lock) => {
            state.check(&identity, output)?;
            report = super::report::continued(&state, report)?;
            progress.stage(&format!(
                "resumed after {} of {} decoder layers",
                state.layers_done, plan.layers
            ));
            let activations = state.load_activations(output, &options)?;
            let writer = resume_output(plan, checkpoint, lock, &report)?;
            (writer, activations, state.layers_done)
        }
        Begun::New(writer) => {
            let embed = |ids: &TokenIds| decoder.embed_with(ids, &options);
            (writer, ids.as_ref().map(embed).transpose()?, 0)
        }
    };
    drop(ids);
    report.phases.prepare += start.elapsed().as_secs_f64();
    let done = report.linears.len();
    let mut walk = Walk {
        plan,
        decoder: &decoder,
        activations,
        sink: Sink::Checkpoint(&mut writer),
        report,
        progress,
        stop,
        identity,
        done,
        layers_done: first,
    };
    let result = (first..plan.layers).try_for_each(|layer| walk.layer(layer));
    let (layers_done, mut report) = (walk.layers_done, walk.report);
    report.memory.device_peak = gpu.peak_bytes();
    let result = result.and_then(|()| {
        progress.stage("write and verify");
        finish(plan, writer, report)
    });
    result.map_err(|error| error.suspended(output, layers_done, plan.layers))
}

/// Walks the dense model and saves what its linears read, for any number of prunes; `stop` is asked between groups.
///
/// Whatever stops it, nothing is left in the output.
pub fn calibrate(
    plan: &Plan,
    checkpoint: &Checkpoint,
    gpu: &Gpu,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<CalibrateReport, RunError> {
    let start = Instant::now();
    let output = &plan.options.output;
    let folder = NewFolder::create(checkpoint, output, plan.output_bytes)?;
    let (calibration, ids) = calibration(plan, checkpoint, progress)?;
    let identity = RunIdentity {
        model: checkpoint.fingerprint(),
        tokens: calibration.token_hash.clone(),
        settings: plan.settings.clone(),
    };
    let decoder = Decoder::new(gpu, checkpoint, &plan.spec, plan.options.samples.length)?;
    let mut report = begin_report(plan, checkpoint, gpu, calibration);
    let mut writer = StatisticsWriter::new(folder, Manifest::begin(&report));
    let ids = ids.expect("what is to be saved is captured");
    let activations = decoder.embed_with(&ids, &plan.activation_options())?;
    drop(ids);
    report.phases.prepare += start.elapsed().as_secs_f64();
    let mut walk = Walk {
        plan,
        decoder: &decoder,
        activations: Some(activations),
        sink: Sink::Statistics(&mut writer),
        report,
        progress,
        stop,
        identity,
        done: 0,
        layers_done: 0,
    };
    let result = (0..plan.layers).try_for_each(|layer| walk.layer(layer));
    let mut report = walk.report;
    // With no layer counted as done, an interruption says that nothing was written.
    result.map_err(|error| error.suspended(output, 0, plan.layers))?;
    report.memory.device_peak = gpu.peak_bytes();
    Ok(calibrated(output, &writer.finish()?, report))
}

/// How a run begins.
enum Begun<'a> {
    New(CheckpointWriter<'a>),
    /// Some layers are done.
    Earlier(Box<RunState>, OutputLock),
}

impl<'a> Begun<'a> {
    /// A new output; with `--resume` what an earlier run left there. Changes nothing of a run that can be resumed.
    fn at(plan: &Plan, checkpoint: &'a Checkpoint) -> Result<Self, RunError> {
        let output = &plan.options.output;
        let lock = if plan.options.resume {
            OutputLock::of_unfinished(output)?
        } else {
            None
        };
        let Some(lock) = lock else {
            if plan.options.resume {
                CheckpointWriter::refuse_complete(checkpoint, output)?;
            }
            return Ok(Begun::New(CheckpointWriter::create(checkpoint, output)?));
        };
        Ok(match RunState::load(output)? {
            Some(state) => Begun::Earlier(Box::new(state), lock),
            None => Begun::New(CheckpointWriter::restart(checkpoint, output, lock)?),
        })
    }
}

fn resume_output<'a>(
    plan: &Plan,
    checkpoint: &'a Checkpoint,
    lock: OutputLock,
    report: &PruneReport,
) -> Result<CheckpointWriter<'a>, RunError> {
    let mut writer = CheckpointWriter::resume(checkpoint, &plan.options.output, lock)?;
    for linear in &report.linears {
        writer.mark_written(&linear.tensor)?;
    }
    mark_followers(&mut writer, &plan.spec, &report.linears)?;
    Ok(writer)
}

/// Rows of a calibration set.
type TokenIds = Vec<Vec<u32>>;

/// What the tokens are, and the tokens themselves unless their sums were saved before.
fn calibration(
    plan: &Plan,
    checkpoint: &Checkpoint,
    progress: &mut dyn Progress,
) -> Result<(CalibrationRecord, Option<TokenIds>), RunError> {
    if let Some(statistics) = &plan.statistics {
        progress.stage("prune from saved statistics");
        return Ok((statistics.manifest.calibration.clone(), None));
    }
    progress.stage("tokenise and embed");
    let set = samples(plan, checkpoint)?;
    super::memory::give_back();
    Ok((calibration_record(&plan.options, &set), Some(set.ids)))
}

fn samples(plan: &Plan, checkpoint: &Checkpoint) -> Result<CalibrationSet, RunError> {
    let corpus = Corpus::read(&plan.options.calibration)?;
    let tokenizer = Tokenizer::open(checkpoint.dir())?;
    Ok(draw(&corpus, &tokenizer, &plan.options.samples)?)
}

struct Walk<'w, 'a> {
    plan: &'a Plan,
    decoder: &'w Decoder<'a>,
    /// The stream that enters the next layer; gone after the last, and absent where sums were saved before.
    activations: Option<Activations>,
    sink: Sink<'w, 'a>,
    report: PruneReport,
    progress: &'w mut dyn Progress,
    stop: &'w AtomicBool,
    identity: RunIdentity,
    done: usize,
    layers_done: usize,
}

/// What becomes of the sums.
enum Sink<'w, 'a> {
    /// The linears are pruned on them and written.
    Checkpoint(&'w mut CheckpointWriter<'a>),
    /// They are saved.
    Statistics(&'w mut StatisticsWriter),
}

impl<'w, 'a: 'w> Walk<'w, 'a> {
    fn layer(&mut self, layer: usize) -> Result<(), RunError> {
        let spec = &self.plan.spec;
        if !self.plan.prunes(layer) {
            return self.pass_through(layer);
        }
        let (mlp, attention): (Vec<Group>, Vec<Group>) =
            spec.groups(layer)?.into_iter().partition(|g| g.input.in_mlp());
        if let Sink::Statistics(writer) = &mut self.sink {
            writer.begin(spec, layer, &attention.iter().chain(&mlp).collect::<Vec<_>>())?;
        }
        let mut inputs = self.enter(layer)?;
        for (number, group) in attention.iter().enumerate() {
            self.group([layer, number], group, &mut inputs)?;
        }
        let clock = Instant::now();
        let mut inputs = inputs.between()?;
        self.report.phases.propagate += clock.elapsed().as_secs_f64();
        for (number, group) in mlp.iter().enumerate() {
            self.group([layer, attention.len() + number], group, &mut inputs)?;
        }
        let clock = Instant::now();
        if layer + 1 < self.plan.layers {
            self.activations = inputs.leave()?;
        }
        self.report.phases.propagate += clock.elapsed().as_secs_f64();
        self.commit(layer)
    }

    /// A layer that stays as it is.
    fn pass_through(&mut self, layer: usize) -> Result<(), RunError> {
        let clock = Instant::now();
        if let Some(stream) = &mut self.activations {
            self.decoder.advance(stream, &self.decoder.layer(layer)?)?;
            self.decoder.checkpoint.release_all();
        }
        self.report.phases.propagate += clock.elapsed().as_secs_f64();
        self.commit(layer)
    }

    /// The layer's inputs: its stream, or the file that has their sums.
    fn enter(&mut self, layer: usize) -> Result<LayerInputs<'w, 'a>, RunError> {
        if let Some(statistics) = &self.plan.statistics {
            return Ok(LayerInputs::Loaded(statistics.layer(layer)?));
        }
        let entering = self.activations.take().expect("a stream enters every layer");
        LayerInputs::captured(self.plan, self.decoder, layer, entering)
    }

    /// Makes the layer durable: its weights, then the state that counts it; or its sums.
    fn commit(&mut self, layer: usize) -> Result<(), RunError> {
        let clock = Instant::now();
        self.layers_done = layer + 1;
        match &mut self.sink {
            Sink::Statistics(writer) => writer.end()?,
            Sink::Checkpoint(writer) => {
                writer.sync()?;
                let report = serde_json::to_value(&self.report).expect("a report is plain data");
                let state = RunState::new(self.identity.clone(), layer + 1, report, self.activations.is_some());
                state.commit(&self.plan.options.output, self.activations.as_ref())?;
                writer.keep();
            }
        }
        self.report.phases.write += clock.elapsed().as_secs_f64();
        self.progress.layer(layer, self.done, self.plan.linears);
        Ok(())
    }

    /// Takes the sums of the group's inputs once, then prunes its linears one by one, or saves the sums.
    fn group(
        &mut self,
        [layer, number]: [usize; 2],
        group: &Group,
        inputs: &mut LayerInputs<'_, '_>,
    ) -> Result<(), RunError> {
        self.interrupted()?;
        let (clock, gpu) = (Instant::now(), self.decoder.gpu);
        let sums = inputs.sums(gpu, group)?;
        self.report.phases.capture += clock.elapsed().as_secs_f64();
        match &mut self.sink {
            Sink::Checkpoint(_) => self.prune(layer, group, sums, inputs),
            Sink::Statistics(writer) => {
                let clock = Instant::now();
                writer.put(gpu, number, &sums)?;
                self.report.phases.write += clock.elapsed().as_secs_f64();
                self.done += group.linears.len();
                Ok(())
            }
        }
    }

    fn interrupted(&self) -> Result<(), RunError> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(RunError::Interrupted),
            false => Ok(()),
        }
    }

    fn prune(
        &mut self,
        layer: usize,
        group: &Group,
        sums: GramStatistics,
        inputs: &mut LayerInputs<'_, '_>,
    ) -> Result<(), RunError> {
        let (clock, gpu) = (Instant::now(), self.decoder.gpu);
        let place = format!("layer {layer}, {:?}", group.input);
        let options = &self.plan.options;
        let statistics = InputStatistics::prepare(gpu, sums, options.damping, options.correction, &place)?;
        self.report.phases.capture += clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        let (statistics, permutation) = self.permuted(group, statistics)?;
        let searched = clock.elapsed().as_secs_f64();
        let order = permutation.as_ref().map(|p| &p.inputs[..]);
        self.report.phases.solve += searched;
        let mut replaced = Vec::new();
        for linear in &group.linears {
            self.interrupted()?;
            let clock = Instant::now();
            let mut solved = self.solver(&statistics, permutation.as_ref()).prune(layer, linear)?;
            solved.record.seconds += searched;
            self.report.phases.solve += clock.elapsed().as_secs_f64();
            let clock = Instant::now();
            let Sink::Checkpoint(writer) = &mut self.sink else {
                unreachable!("only a checkpoint is pruned")
            };
            writer.put(&linear.tensor, &linear.stored(&solved.rows, solved.dtype))?;
            if let Some(permutation) = &permutation {
                let linears = self.plan.spec.linears_of(layer)?;
                follow(
                    writer,
                    self.decoder.checkpoint,
                    &linears,
                    group.input,
                    &permutation.channels,
                )?;
            }
            self.report.phases.write += clock.elapsed().as_secs_f64();
            self.done += 1;
            self.progress.linear(self.done, self.plan.linears, &solved.record);
            self.report.linears.push(solved.record);
            replaced.push((
                linear,
                solved.dtype,
                unpermuted(solved.rows, solved.dtype.size(), order),
            ));
        }
        drop(statistics);
        inputs.replace(group, &replaced)
    }

    /// The inputs of a group in the order that suits the pattern best, and that order if it is not their own.
    fn permuted(
        &self,
        group: &Group,
        statistics: InputStatistics,
    ) -> Result<(InputStatistics, Option<Permutation>), RunError> {
        let Some(permutation) = self.solver(&statistics, None).permutation(group)? else {
            return Ok((statistics, None));
        };
        let statistics = statistics.permuted(self.decoder.gpu, &permutation.inputs)?;
        Ok((statistics, Some(permutation)))
    }

    fn solver<'s>(&'s self, inputs: &'s InputStatistics, permutation: Option<&'s Permutation>) -> Solver<'s> {
        Solver {
            plan: self.plan,
            checkpoint: self.decoder.checkpoint,
            gpu: self.decoder.gpu,
            inputs,
            permutation,
        }
    }
}

/// Writes what remains, opens the result again and counts its zeros. Until then the run can be resumed.
fn finish(plan: &Plan, mut writer: CheckpointWriter<'_>, mut report: PruneReport) -> Result<PruneReport, RunError> {
    let clock = Instant::now();
    report.totals = total(&report.linears);
    report.warnings = warn_of_experts(&report.linears);
    report.warnings.extend(warn_of_order(&plan.options, &plan.spec));
    let json = serde_json::to_string_pretty(&report.reproducible()).expect("a report is plain data");
    writer.place(&[("pruning_report.json", json.as_bytes())])?;
    super::report::verify(&plan.options.output, &report)?;
    writer.close()?;
    report.memory.host_peak = peak_resident();
    report.phases.write += clock.elapsed().as_secs_f64();
    Ok(report)
}
