//! The walk over decoder layers: capture, accumulate, prune, replay, commit, next layer. Once, for every method and
//! family, and built so that it can stop after any layer and go on from there.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::capture::Streams;
use super::plan::Plan;
use super::report::{begin_report, total, warn_of_experts};
use super::solve::Solver;
use super::state::{RunIdentity, RunState};
use super::{RunError, peak_resident};
use crate::calib::{CalibrationSet, Corpus, Tokenizer, draw};
use crate::checkpoint::{Checkpoint, CheckpointWriter, OutputLock};
use crate::gpu::Gpu;
use crate::model::{Activations, Decoder, Group, LayerWeights, Spec, Tap};
use crate::prune::{InputStatistics, Propagate};
use crate::report::{LinearRecord, PruneReport};

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
    progress.stage("tokenise and embed");
    let calibration = calibrate(plan, checkpoint)?;
    super::memory::give_back();
    let identity = RunIdentity {
        model: checkpoint.fingerprint(),
        tokens: calibration.hash.clone(),
        settings: plan.settings.clone(),
    };
    let decoder = Decoder::new(gpu, checkpoint, &plan.spec, plan.options.samples.length)?;
    let mut report = begin_report(plan, checkpoint, gpu, &calibration);
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
            let writer = resume_output(checkpoint, output, lock, &report)?;
            (writer, activations, state.layers_done)
        }
        Begun::New(writer) => (writer, Some(decoder.embed_with(&calibration.ids, &options)?), 0),
    };
    drop(calibration);
    report.phases.prepare += start.elapsed().as_secs_f64();
    let done = report.linears.len();
    let mut walk = Walk {
        plan,
        decoder,
        activations,
        writer: &mut writer,
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
    checkpoint: &'a Checkpoint,
    output: &Path,
    lock: OutputLock,
    report: &PruneReport,
) -> Result<CheckpointWriter<'a>, RunError> {
    let mut writer = CheckpointWriter::resume(checkpoint, output, lock)?;
    for linear in &report.linears {
        writer.mark_written(&linear.tensor)?;
    }
    Ok(writer)
}

fn calibrate(plan: &Plan, checkpoint: &Checkpoint) -> Result<CalibrationSet, RunError> {
    let corpus = Corpus::read(&plan.options.calibration)?;
    let tokenizer = Tokenizer::open(checkpoint.dir())?;
    Ok(draw(&corpus, &tokenizer, &plan.options.samples)?)
}

struct Walk<'w, 'a> {
    plan: &'a Plan,
    decoder: Decoder<'a>,
    /// The stream that enters the next layer; gone after the last.
    activations: Option<Activations>,
    writer: &'w mut CheckpointWriter<'a>,
    report: PruneReport,
    progress: &'w mut dyn Progress,
    stop: &'w AtomicBool,
    identity: RunIdentity,
    done: usize,
    layers_done: usize,
}

impl Walk<'_, '_> {
    fn layer(&mut self, layer: usize) -> Result<(), RunError> {
        let spec = &self.plan.spec;
        let last = layer + 1 == self.plan.layers;
        let mut dense = self.decoder.layer(layer)?;
        self.decoder.checkpoint.release_all();
        if !last {
            let next = spec.linears_of(layer + 1)?;
            self.decoder.checkpoint.prefetch(next.iter().map(|l| l.tensor.clone()));
        }
        let mut pruned = dense.clone();
        if self.plan.options.propagate == Propagate::Pruned {
            // No pass goes through the dense layer.
            dense.forget(|_| true);
        }
        let (mlp, attention): (Vec<Group>, Vec<Group>) =
            spec.groups(layer)?.into_iter().partition(|g| g.input.in_mlp());
        let entering = self.activations.take().expect("a stream enters every layer");
        for group in &attention {
            self.group(group, &mut dense, &mut pruned, [&entering, &entering])?;
        }
        let clock = Instant::now();
        let middle = Middle::of(&self.decoder, self.plan, entering, &dense, &pruned)?;
        if !spec.parallel {
            dense.forget(|id| !id.role.in_mlp());
            pruned.forget(|id| !id.role.in_mlp());
        }
        self.report.phases.propagate += clock.elapsed().as_secs_f64();
        for group in &mlp {
            self.group(group, &mut dense, &mut pruned, middle.streams())?;
        }
        let clock = Instant::now();
        if !last {
            let next = match self.plan.options.propagate {
                Propagate::Dense => &dense,
                Propagate::Local | Propagate::Pruned => &pruned,
            };
            self.activations = Some(middle.advance(&self.decoder, self.plan, next)?);
        }
        self.report.phases.propagate += clock.elapsed().as_secs_f64();
        self.commit(layer)
    }

    /// Makes the layer durable: its weights, then the state that counts it.
    fn commit(&mut self, layer: usize) -> Result<(), RunError> {
        let clock = Instant::now();
        self.layers_done = layer + 1;
        self.writer.sync()?;
        let report = serde_json::to_value(&self.report).expect("a report is plain data");
        let state = RunState::new(self.identity.clone(), layer + 1, report, self.activations.is_some());
        state.commit(&self.plan.options.output, self.activations.as_ref())?;
        self.writer.keep();
        self.report.phases.write += clock.elapsed().as_secs_f64();
        self.progress.layer(layer, self.done, self.plan.linears);
        Ok(())
    }

    /// Captures the group's inputs once, then prunes its linears one by one. `streams`: what the pruned and the dense
    /// weights read.
    fn group(
        &mut self,
        group: &Group,
        dense: &mut LayerWeights,
        pruned: &mut LayerWeights,
        streams: [&Activations; 2],
    ) -> Result<(), RunError> {
        let (clock, layer, gpu) = (Instant::now(), dense.layer, self.decoder.gpu);
        let propagate = self.plan.options.propagate;
        let sums = {
            let both = Streams {
                pruned: (self.decoder.block(pruned), streams[0]),
                dense: (self.decoder.block(dense), streams[1]),
            };
            both.capture(gpu, group, drifts(&self.plan.spec, propagate, group.input))?
        };
        // What no pass needs any more goes before the linears are solved, which takes the most memory.
        if let Some(expert) = done_after(group.input) {
            let unneeded = if propagate == Propagate::Dense {
                &mut *pruned
            } else {
                dense
            };
            unneeded.forget(|id| id.role.in_mlp() && id.expert == expert);
        }
        let place = format!("layer {layer}, {:?}", group.input);
        let options = &self.plan.options;
        let inputs = InputStatistics::prepare(gpu, sums, options.damping, options.correction, &place)?;
        self.report.phases.capture += clock.elapsed().as_secs_f64();
        let mut replaced = Vec::new();
        for linear in &group.linears {
            if self.stop.load(Ordering::Relaxed) {
                return Err(RunError::Interrupted);
            }
            let clock = Instant::now();
            let solver = Solver {
                plan: self.plan,
                checkpoint: self.decoder.checkpoint,
                gpu,
                inputs: &inputs,
            };
            let solved = solver.prune(layer, linear)?;
            self.report.phases.solve += clock.elapsed().as_secs_f64();
            let clock = Instant::now();
            self.writer
                .put(&linear.tensor, &linear.stored(&solved.rows, solved.dtype))?;
            self.report.phases.write += clock.elapsed().as_secs_f64();
            self.done += 1;
            self.progress.linear(self.done, self.plan.linears, &solved.record);
            self.report.linears.push(solved.record);
            replaced.push((linear, solved.dtype, solved.rows));
        }
        drop(inputs);
        if propagate == Propagate::Dense && done_after(group.input).is_some() {
            return Ok(());
        }
        for (linear, dtype, rows) in replaced {
            pruned.put(gpu, linear, dtype, &rows)?;
        }
        Ok(())
    }
}

/// Whether the inputs at a tap differ between the pruned and the dense layer, and the difference is corrected.
pub(super) fn drifts(spec: &Spec, propagate: Propagate, tap: Tap) -> bool {
    let same = match tap {
        Tap::AttentionInput => true,
        Tap::MlpInput | Tap::ExpertInput(_) => spec.parallel,
        _ => false,
    };
    !same && propagate != Propagate::Pruned
}

/// The MLP (or which expert) that is read for the last time when this tap is captured, but by the pass to the next
/// layer. That reads the dense layer if inputs are dense, else the pruned one: the other copy can go.
pub(super) fn done_after(tap: Tap) -> Option<Option<usize>> {
    match tap {
        Tap::MlpHidden => Some(None),
        Tap::ExpertHidden(expert) => Some(Some(expert)),
        _ => None,
    }
}

/// Writes what remains, opens the result again and counts its zeros. Until then the run can be resumed.
fn finish(plan: &Plan, mut writer: CheckpointWriter<'_>, mut report: PruneReport) -> Result<PruneReport, RunError> {
    let clock = Instant::now();
    report.totals = total(&report.linears);
    report.warnings = warn_of_experts(&report.linears);
    let json = serde_json::to_string_pretty(&report.reproducible()).expect("a report is plain data");
    writer.place(&[("pruning_report.json", json.as_bytes())])?;
    super::report::verify(&plan.options.output, &report)?;
    writer.close()?;
    report.memory.host_peak = peak_resident();
    report.phases.write += clock.elapsed().as_secs_f64();
    Ok(report)
}

/// The streams between attention and MLP. With a parallel residual the MLP reads the stream that enters the layer.
struct Middle {
    pruned: Activations,
    /// Absent where it is the same or not needed.
    dense: Option<Activations>,
}

impl Middle {
    fn of(
        decoder: &Decoder<'_>,
        plan: &Plan,
        mut entering: Activations,
        dense: &LayerWeights,
        pruned: &LayerWeights,
    ) -> Result<Self, RunError> {
        let mut other = None;
        if !plan.spec.parallel {
            if plan.options.propagate != Propagate::Pruned {
                let (mut stream, block) = (entering.empty_like()?, decoder.block(dense));
                for batch in 0..entering.batches() {
                    let half = decoder.pass(&entering, batch, |recording, x| block.attention_half(recording, &x))?;
                    stream.write(batch, &half)?;
                }
                other = Some(stream);
            }
            let block = decoder.block(pruned);
            decoder.replace(&mut entering, |recording, x| block.attention_half(recording, &x))?;
        }
        Ok(Middle {
            pruned: entering,
            dense: other,
        })
    }

    fn streams(&self) -> [&Activations; 2] {
        [&self.pruned, self.dense.as_ref().unwrap_or(&self.pruned)]
    }

    /// The stream that leaves the layer, through the MLP of `weights`.
    fn advance(self, decoder: &Decoder<'_>, plan: &Plan, weights: &LayerWeights) -> Result<Activations, RunError> {
        let mut stream = match (plan.options.propagate, self.dense) {
            (Propagate::Dense, Some(dense)) => dense,
            _ => self.pruned,
        };
        if plan.spec.parallel {
            decoder.advance(&mut stream, weights)?;
            return Ok(stream);
        }
        let block = decoder.block(weights);
        decoder.replace(&mut stream, |recording, middle| {
            block.mlp_half(recording, &middle.clone(), middle)
        })?;
        Ok(stream)
    }
}
