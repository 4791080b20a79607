//! LLM Surgeon: shot after shot the curvature of the whole model from forward and backward passes, one threshold for all
//! linears, and updates of what remains.
//!
//! A shot goes through the model twice: backwards, from layer to layer, to gather the factors and count the costs, and
//! forwards to prune with them. Its result is a checkpoint in the state folder, which the next shot reads; so memory is one
//! layer's factors and the streams between layers, and a run can be resumed after any shot. Start reading at [`surgeon`].

pub(super) mod factors;
pub(super) mod pass;
mod plan;
pub(super) mod prune;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

pub(super) use plan::Passes;
pub use plan::{SURGEON, SurgeonOptions, SurgeonPlan};

use super::report::{adapter_record, calibration_record, continued, total, verify, warn_of_experts};
use super::samples::{TokenIds, samples};
use super::state::{RunIdentity, RunState};
use super::walk::Progress;
use super::{RunError, peak_resident};
use crate::checkpoint::{Checkpoint, CheckpointWriter, NewFolder, STATE_FILE, STATE_FOLDER};
use crate::gpu::Gpu;
use crate::model::{Decoder, Spec};
use crate::prune::surgeon::{CostHistogram, allocate};
use crate::report::{Memory, PruneReport, Settings, ShotRecord};
use factors::{FactorStore, Wanted};
use pass::{BackwardPass, Loss};

/// Prunes the plan's checkpoint by LLM Surgeon and writes the result; `stop` is asked between layers.
///
/// Whatever stops it after the first shot leaves the finished shots in the output, to be resumed.
pub fn surgeon(
    plan: &SurgeonPlan,
    checkpoint: &Checkpoint,
    gpu: &Gpu,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<PruneReport, RunError> {
    let start = Instant::now();
    let output = &plan.options.output;
    let mut folder = begin(plan, checkpoint)?;
    progress.stage("tokenise");
    let set = samples(&plan.options, checkpoint)?;
    let calibration = calibration_record(&plan.options, &set);
    let identity = RunIdentity {
        model: checkpoint.fingerprint(),
        tokens: calibration.token_hash.clone(),
        settings: plan.settings.clone(),
    };
    let mut report = PruneReport {
        calibration,
        ..begin_report(plan, checkpoint, gpu)
    };
    let mut done = 0;
    if let Some(state) = RunState::load(output)? {
        state.check(&identity, output)?;
        report = continued(&state, report)?;
        done = state.layers_done;
        folder.keep();
        progress.stage(&format!("resumed after {done} of {} shots", plan.surgeon.shots));
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
    let shots = done..plan.surgeon.shots;
    let result = shots.clone().try_for_each(|shot| {
        done = shot;
        run.shot(shot)
    });
    let mut report = run.report;
    result.map_err(|error| suspended(error, output, done, plan.surgeon.shots))?;
    folder.finish()?;
    report.memory.device_peak = gpu.peak_bytes();
    report.memory.host_peak = peak_resident();
    Ok(report)
}

/// The output folder, new or with the shots of an earlier run.
pub(super) fn begin(plan: &SurgeonPlan, checkpoint: &Checkpoint) -> Result<NewFolder, RunError> {
    let (output, needed) = (&plan.options.output, plan.disk_bytes);
    if !plan.options.resume {
        return Ok(NewFolder::create(checkpoint, output, needed)?);
    }
    CheckpointWriter::refuse_complete(checkpoint, output)?;
    let state = Path::new(STATE_FOLDER).join(STATE_FILE);
    let name = state.to_string_lossy().into_owned();
    Ok(NewFolder::create_or_continue(checkpoint, output, needed, &name)?)
}

/// Adds how to go on, if a shot is done.
pub(super) fn suspended(error: RunError, output: &Path, done: usize, shots: usize) -> RunError {
    let output = output.display().to_string();
    match error {
        error @ RunError::Verification { .. } => error,
        RunError::Interrupted if done == 0 => RunError::NothingWritten { output },
        error if done == 0 => error,
        error => RunError::ShotsDone {
            error: Box::new(error),
            output,
            done,
            shots,
        },
    }
}

struct Run<'r, 'a> {
    plan: &'a SurgeonPlan,
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

    fn interrupted(&self) -> Result<(), RunError> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(RunError::Interrupted),
            false => Ok(()),
        }
    }

    /// From the checkpoint of the shot before to the next.
    fn shot(&mut self, shot: usize) -> Result<(), RunError> {
        let clock = Instant::now();
        let shots = self.plan.surgeon.shots;
        let earlier = match shot {
            0 => None,
            _ => Some(Checkpoint::open(&self.path(shot))?),
        };
        let current = earlier.as_ref().unwrap_or(self.original);
        self.progress.stage(&format!("shot {} of {shots}: curvature", shot + 1));
        let store = FactorStore::create(self.folder.state().join("factors"), Wanted::ALL)?;
        let (histograms, loss) = self.curvature(current, &store)?;
        self.report.phases.capture += clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        let share = (shot + 1) as f64 / shots as f64;
        let target = target(self.plan, &histograms, share);
        let removed = allocate(&histograms, target);
        self.progress.stage(&format!(
            "shot {} of {shots}: loss {:.4} nats a token, pruning to {:.1} %",
            shot + 1,
            loss.mean,
            100.0 * share * self.plan.options.pattern.sparsity()
        ));
        self.report.linears.clear();
        if shot + 1 == shots {
            let mut writer = CheckpointWriter::within(current, &self.plan.options.output)?;
            self.prune(current, &store, &removed, &mut writer)?;
            self.report.phases.solve += clock.elapsed().as_secs_f64();
            self.note(shot, share, &loss, &removed);
            return self.finish(writer);
        }
        let next = self.path(shot + 1);
        let _ = fs::remove_dir_all(&next);
        let mut writer = CheckpointWriter::create(current, &next)?;
        self.prune(current, &store, &removed, &mut writer)?;
        self.report.phases.solve += clock.elapsed().as_secs_f64();
        self.note(shot, share, &loss, &removed);
        let clock = Instant::now();
        writer.finish(&[])?;
        let report = serde_json::to_value(&self.report).expect("a report is plain data");
        RunState::new(self.identity.clone(), shot + 1, report, false).commit(&self.plan.options.output, None)?;
        self.folder.keep();
        drop(earlier);
        if shot > 0 {
            let old = self.path(shot);
            fs::remove_dir_all(&old).map_err(|e| self.folder.failed(&old, e))?;
        }
        self.report.phases.write += clock.elapsed().as_secs_f64();
        Ok(())
    }

    /// The backward pass: saves every layer's factors and counts the costs of every linear, first layer first.
    fn curvature(&mut self, current: &Checkpoint, store: &FactorStore) -> Result<(Vec<CostHistogram>, Loss), RunError> {
        let (plan, gpu) = (self.plan, self.gpu);
        let pass = BackwardPass {
            decoder: Decoder::new(gpu, current, &plan.spec, plan.options.samples.length)?,
            ids: self.ids,
            activations: plan.activation_options(),
            wanted: store.wanted(),
            stop: self.stop,
        };
        let (weigh, mut layers) = (plan.weigh(), Vec::new());
        let loss = pass.run(|layer, factors| {
            store.put(gpu, layer, factors)?;
            layers.push(weigh.histograms(&pass.decoder, layer, factors)?);
            let done = linears_of(&plan.spec, layer..plan.spec.layers)?;
            self.progress.layer(layer, done, 2 * plan.linears);
            Ok(())
        })?;
        layers.reverse();
        let histograms = layers.into_iter().flatten().map(|(_, histogram)| histogram);
        Ok((histograms.collect(), loss))
    }

    /// The forward pass of a shot: every layer pruned with its factors, given how much each linear loses.
    fn prune(
        &mut self,
        current: &Checkpoint,
        store: &FactorStore,
        removed: &[u64],
        writer: &mut CheckpointWriter<'_>,
    ) -> Result<(), RunError> {
        let plan = self.plan;
        let mut removed = removed.iter().copied();
        for layer in 0..plan.spec.layers {
            self.interrupted()?;
            let mut factors = store.get(self.gpu, &plan.spec, layer)?;
            let surgery = prune::Surgery {
                plan,
                gpu: self.gpu,
                original: self.original,
                current,
            };
            let records = surgery.layer(layer, &mut factors, &mut removed, writer)?;
            for record in records {
                let done = plan.linears + self.report.linears.len() + 1;
                self.progress.linear(done, 2 * plan.linears, &record);
                self.report.linears.push(record);
            }
            current.release_all();
            self.original.release_all();
            let done = plan.linears + self.report.linears.len();
            self.progress.layer(layer, done, 2 * plan.linears);
        }
        Ok(())
    }

    fn note(&mut self, shot: usize, share: f64, loss: &Loss, removed: &[u64]) {
        self.report.shots.push(ShotRecord {
            shot: shot + 1,
            sparsity: share * self.plan.options.pattern.sparsity(),
            removed: removed.iter().sum(),
            loss: Some(loss.mean),
            skipped_samples: loss.skipped,
        });
    }

    /// Writes what remains, opens the result again and counts its zeros.
    fn finish(&mut self, mut writer: CheckpointWriter<'_>) -> Result<(), RunError> {
        let clock = Instant::now();
        self.progress.stage("write and verify");
        let report = &mut self.report;
        report.totals = total(&report.linears);
        report.warnings = warn_of_experts(&report.linears);
        let skipped = report.shots.iter().map(|s| s.skipped_samples).max().unwrap_or(0);
        if skipped > 0 {
            report.warnings.push(format!(
                "{skipped} calibration samples had no finite loss and were left out; the model may be damaged"
            ));
        }
        let json = serde_json::to_string_pretty(&report.reproducible()).expect("a report is plain data");
        writer.place(&[("pruning_report.json", json.as_bytes())])?;
        verify(&self.plan.options.output, report)?;
        report.phases.write += clock.elapsed().as_secs_f64();
        Ok(())
    }
}

/// Linears of these layers.
fn linears_of(spec: &Spec, mut layers: std::ops::Range<usize>) -> Result<usize, RunError> {
    layers.try_fold(0, |sum, layer| Ok(sum + spec.linears_of(layer)?.len()))
}

/// Weights or groups that are zero after a shot.
fn target(plan: &SurgeonPlan, histograms: &[CostHistogram], share: f64) -> u64 {
    let all: u64 = histograms.iter().map(CostHistogram::total).sum();
    let at_last = match plan.options.pattern {
        crate::prune::Pattern::NM { .. } => all as f64,
        pattern @ crate::prune::Pattern::Unstructured { .. } => all as f64 * pattern.sparsity(),
    };
    (at_last * share).round() as u64
}

/// A report with the settings of a plan.
pub(super) fn begin_report(plan: &SurgeonPlan, checkpoint: &Checkpoint, gpu: &Gpu) -> PruneReport {
    let options = &plan.options;
    PruneReport {
        tool: format!("secateur {}", env!("CARGO_PKG_VERSION")),
        settings: Settings {
            model: options.model.display().to_string(),
            output: options.output.display().to_string(),
            family: plan.family.clone(),
            method: SURGEON.into(),
            pattern: options.pattern.to_string(),
            sparsity: options.pattern.sparsity(),
            refit: plan.surgeon.refit,
            damping: options.damping.fraction,
            damping_rule: "mean".into(),
            output_damping: Some(plan.surgeon.output_damping),
            shots: Some(plan.surgeon.shots),
            max_correlate: Some(plan.surgeon.max_correlate),
            propagate: "pruned".into(),
            allocation: "global".into(),
            activations: "float32".into(),
            batch_rows: plan.activation_options().rows,
            ..Default::default()
        },
        input_fingerprint: checkpoint.fingerprint(),
        adapter: adapter_record(gpu),
        memory: Memory {
            predicted_device: plan.device_bytes,
            predicted_host: plan.host_bytes,
            ..Default::default()
        },
        ..Default::default()
    }
}
