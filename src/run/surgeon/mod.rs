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
pub(super) mod shots;

use std::sync::atomic::AtomicBool;
use std::time::Instant;

pub(super) use plan::Passes;
pub use plan::{SURGEON, SurgeonOptions, SurgeonPlan};

use super::RunError;
use super::report::{adapter_record, warn_of_experts};
use super::walk::Progress;
use crate::checkpoint::{Checkpoint, CheckpointWriter};
use crate::gpu::Gpu;
use crate::model::{Decoder, Spec};
use crate::prune::Pattern;
use crate::prune::surgeon::{CostHistogram, allocate};
use crate::report::{Memory, PruneReport, Settings, ShotRecord};
use factors::{FactorStore, Wanted};
use pass::{BackwardPass, Loss};
use shots::{Shots, Watch, in_shots};

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
    let begun = begin_report(plan, checkpoint, gpu);
    in_shots(plan, (checkpoint, gpu), Watch { progress, stop }, begun, |run, shot| {
        run.shot(shot)
    })
}

impl Shots<'_> {
    /// From the checkpoint of the shot before to the next.
    fn shot(&mut self, shot: usize) -> Result<(), RunError> {
        let clock = Instant::now();
        let shots = self.plan.surgeon.shots;
        let earlier = self.earlier(shot)?;
        let current = earlier.as_ref().unwrap_or(self.original);
        self.progress.stage(&format!("shot {} of {shots}: curvature", shot + 1));
        let store = self.store(Wanted::ALL)?;
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
        let last = self.is_last(shot);
        let mut writer = match last {
            true => CheckpointWriter::within(current, &self.plan.options.output)?,
            false => CheckpointWriter::create(current, &self.next(shot))?,
        };
        self.prune(current, &store, &removed, &mut writer)?;
        self.report.phases.solve += clock.elapsed().as_secs_f64();
        self.note(shot, share, &loss, &removed);
        let clock = Instant::now();
        if last {
            self.finish(writer)?;
        } else {
            writer.finish(&[])?;
            drop(earlier);
            self.commit(shot)?;
        }
        self.report.phases.write += clock.elapsed().as_secs_f64();
        Ok(())
    }

    /// The backward pass: saves every layer's factors and counts the costs of every linear, first layer first.
    fn curvature(&mut self, current: &Checkpoint, store: &FactorStore) -> Result<(Vec<CostHistogram>, Loss), RunError> {
        let (plan, gpu) = (self.plan, self.gpu);
        let decoder = Decoder::new(gpu, current, &plan.spec, plan.options.samples.length)?;
        let pass = BackwardPass {
            decoder: &decoder,
            ids: self.ids,
            activations: plan.activation_options(),
            wanted: store.wanted(),
            stop: self.stop,
        };
        let (weigh, mut layers) = (plan.weigh(), Vec::new());
        let loss = pass.run(|layer, factors| {
            store.put(gpu, layer, factors)?;
            layers.push(weigh.histograms(&decoder, layer, factors)?);
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
    fn finish(&mut self, writer: CheckpointWriter<'_>) -> Result<(), RunError> {
        self.progress.stage("write and verify");
        self.sum_up(warn_of_experts(&self.report.linears));
        self.place(writer)
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
        Pattern::NM { .. } => all as f64,
        pattern @ Pattern::Unstructured { .. } => all as f64 * pattern.sparsity(),
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
