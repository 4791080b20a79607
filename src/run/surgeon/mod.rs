//! LLM Surgeon: shot after shot the curvature of the whole model from forward and backward passes, one threshold for all
//! linears, and updates of what remains.
//!
//! With `kfac-fista` a search (`search`) improves each shot's solution before it is written.
//!
//! A shot goes through the model twice: backwards, from layer to layer, to gather the factors and count the costs, and
//! forwards to prune with them. Its result is a checkpoint in the state folder, which the next shot reads; so memory is one
//! layer's factors and the streams between layers, and a run can be resumed after any shot. Start reading at [`surgeon`].

mod correct;
mod corrections;
pub(super) mod factors;
mod found;
mod need;
pub(super) mod pass;
mod plan;
pub(super) mod prune;
mod search;
pub(super) mod shots;

use std::sync::atomic::AtomicBool;
use std::time::Instant;

pub(super) use need::{Need, Pass, Passes};
pub use plan::{
    BY_GRADIENTS, Fisher, KFAC_FISTA, LineKinds, LowRankOptions, SURGEON, SearchOptions, SurgeonOptions, SurgeonPlan,
};

use super::RunError;
use super::report::{adapter_record, warn_of_experts};
use super::walk::Progress;
use crate::checkpoint::{Checkpoint, CheckpointWriter, Reshaping};
use crate::gpu::{Gpu, Recording};
use crate::model::{Decoder, LinearGradient, Spec};
use crate::prune::Pattern;
use crate::prune::surgeon::{CostHistogram, Lines, allocate, cheapest_lines};
use crate::report::{Memory, PruneReport, SearchRecord, Settings, ShotRecord};
use factors::{FactorStore, Half, LayerFactors, Wanted};
use pass::{BackwardPass, Loss};
use prune::Order;
use search::{Target, Weighed};
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
        let earlier = self.earlier()?;
        let current = earlier.as_ref().unwrap_or(self.original);
        self.progress.stage(&format!("shot {} of {shots}: curvature", shot + 1));
        let store = self.store(Wanted::ALL)?;
        let (weighed, loss) = self.curvature(shot, current, &store)?;
        self.report.phases.capture += clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        let share = (shot + 1) as f64 / shots as f64;
        let lines = self.plan.surgeon.lines.any().then(|| lines(self.plan, &weighed, share));
        let target = match &lines {
            Some(lines) => Target::of_lines(&weighed.lines, lines),
            None => target(self.plan, &weighed.removal, share),
        };
        self.progress.stage(&format!(
            "shot {} of {shots}: loss {:.4} nats a token, pruning to {:.1} %",
            shot + 1,
            loss.mean,
            100.0 * share * self.plan.options.pattern.sparsity()
        ));
        self.report.linears.clear();
        let searched = match self.plan.searches() {
            true => Some(self.search(current, &store, &weighed, target)?),
            false => None,
        };
        let mut writer = self.writer(current, Reshaping::default())?;
        match (&searched, &lines) {
            (Some(searched), _) => self.prune(current, &store, &mut searched.orders(), &mut writer)?,
            (None, Some(lines)) => {
                let mut orders = lines.iter().map(Order::Lines);
                self.prune(current, &store, &mut orders, &mut writer)?;
            }
            (None, None) => {
                let removed = allocate(&weighed.removal, target.removed);
                let mut orders = removed.into_iter().map(Order::Remove);
                self.prune(current, &store, &mut orders, &mut writer)?;
            }
        }
        self.report.phases.solve += clock.elapsed().as_secs_f64();
        self.note(shot, (share, target), &loss, searched.map(|found| found.record));
        self.sum_up(warn_of_experts(&self.report.linears));
        self.leave(writer)?;
        drop(earlier);
        self.commit()
    }

    /// The backward pass: saves every layer's factors and counts the costs of every linear, first layer first.
    fn curvature(
        &mut self,
        shot: usize,
        current: &Checkpoint,
        store: &FactorStore,
    ) -> Result<(Weighed, Loss), RunError> {
        let (plan, gpu) = (self.plan, self.gpu);
        let decoder = Decoder::new(gpu, current, &plan.spec, plan.options.samples.length)?;
        let pass = BackwardPass {
            decoder: &decoder,
            ids: self.ids,
            activations: plan.activation_options(),
            fisher: plan.targets(shot),
            layers: false,
            stop: self.stop,
        };
        let (mut layers, half_steps) = (Vec::new(), plan.surgeon.half_steps);
        let mut found = |half_step: usize, layer, factors: &mut LayerFactors| {
            store.put(gpu, layer, factors)?;
            if half_step == half_steps {
                layers.push(plan.costs(&decoder, layer, factors)?);
            }
            let done = linears_of(&plan.spec, layer..plan.spec.layers)?;
            self.progress
                .layer(layer, half_step * plan.linears + done, plan.steps());
            Ok(())
        };
        let loss = pass.factors(store.wanted(), |layer, factors| found(0, layer, factors))?;
        for number in 0..half_steps {
            pass.run(|layer, back| {
                let mut factors = store.get(gpu, &plan.spec, layer)?;
                let step = factors.begin_half_step(gpu, Half::of(number))?;
                back(&mut |recording: &mut Recording, linear: LinearGradient<'_>| {
                    Ok(factors.add_nearer(recording, gpu, &step, &linear)?)
                })?;
                factors.finish(gpu)?;
                found(number + 1, layer, &mut factors)
            })?;
        }
        let mut all = Weighed::default();
        for layer in layers.into_iter().rev() {
            all.removal.extend(layer.removal);
            all.alone.extend(layer.alone);
            all.lines.extend(layer.lines);
        }
        Ok((all, loss))
    }

    /// The forward pass of a shot: every layer pruned with its factors, by an order for each linear.
    fn prune<'o>(
        &mut self,
        current: &Checkpoint,
        store: &FactorStore,
        orders: &mut impl Iterator<Item = Order<'o>>,
        writer: &mut CheckpointWriter<'_>,
    ) -> Result<(), RunError> {
        let plan = self.plan;
        let before = plan.steps() - plan.linears;
        for layer in 0..plan.spec.layers {
            self.interrupted()?;
            let mut factors = store.get(self.gpu, &plan.spec, layer)?;
            let surgery = prune::Surgery {
                plan,
                gpu: self.gpu,
                original: self.original,
                current,
            };
            let records = surgery.layer(layer, &mut factors, orders, writer)?;
            for record in records {
                let done = before + self.report.linears.len() + 1;
                self.progress.linear(done, plan.steps(), &record);
                self.report.linears.push(record);
            }
            current.release_all();
            self.original.release_all();
            let done = before + self.report.linears.len();
            self.progress.layer(layer, done, plan.steps());
        }
        Ok(())
    }

    fn note(&mut self, shot: usize, (share, target): (f64, Target), loss: &Loss, search: Option<SearchRecord>) {
        self.report.shots.push(ShotRecord {
            shot: shot + 1,
            sparsity: share * self.plan.options.pattern.sparsity(),
            removed: target.removed,
            loss: Some(loss.mean),
            skipped_samples: loss.skipped,
            search,
            ..Default::default()
        });
    }
}

/// Linears of these layers.
fn linears_of(spec: &Spec, mut layers: std::ops::Range<usize>) -> Result<usize, RunError> {
    layers.try_fold(0, |sum, layer| Ok(sum + spec.linears_of(layer)?.len()))
}

/// Rows and columns that are zero after a shot, linear by linear; those of the shot before cost nothing and are among
/// them.
fn lines(plan: &SurgeonPlan, weighed: &Weighed, share: f64) -> Vec<Lines> {
    let budget = plan.weights as f64 * plan.options.pattern.sparsity() * share;
    cheapest_lines(&weighed.lines, budget.round() as u64)
}

/// Weights or groups that are zero after a shot.
fn target(plan: &SurgeonPlan, histograms: &[CostHistogram], share: f64) -> Target {
    let all: u64 = histograms.iter().map(CostHistogram::total).sum();
    let at_last = match plan.options.pattern {
        Pattern::NM { .. } => all as f64,
        pattern @ Pattern::Unstructured { .. } => all as f64 * pattern.sparsity(),
    };
    // What is zero already cannot be undone.
    let done: u64 = histograms.iter().map(CostHistogram::done).sum();
    Target {
        removed: ((at_last * share).round() as u64).max(done),
        weights: (plan.weights as f64 * plan.options.pattern.sparsity() * share).round() as u64,
    }
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
            method: options.method.clone(),
            chosen: options.chosen.clone(),
            pattern: options.pattern.to_string(),
            sparsity: options.pattern.sparsity(),
            refit: plan.surgeon.refit,
            damping: options.damping.fraction,
            damping_rule: "mean".into(),
            output_damping: Some(plan.surgeon.output_damping),
            shots: Some(plan.surgeon.shots),
            fisher: Some(plan.surgeon.fisher.name()),
            half_steps: Some(plan.surgeon.half_steps).filter(|steps| *steps > 0),
            structure: plan.surgeon.lines.any().then(|| plan.surgeon.lines.name()),
            max_correlate: (!plan.searches()).then_some(plan.surgeon.max_correlate),
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
