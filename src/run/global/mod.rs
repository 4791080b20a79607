//! LLM Surgeon: shot after shot the curvature of the whole model from forward and backward passes, one threshold for all
//! linears, and updates of what remains.
//!
//! With `kfac-fista` a search (`search`) improves each shot's solution before it is written.
//!
//! A shot goes through the model twice: backwards, from layer to layer, to gather the factors and count the costs, and
//! again to prune with them: forwards with those on the disk, or, where that has no room, backwards once more. Its result
//! is a checkpoint in the state folder, which the next shot reads; so memory is one layer's factors and the streams
//! between layers, and a run can be resumed after any shot. Start reading at [`surgeon`].

mod correct;
mod corrections;
mod costs;
mod found;
mod options;
mod plan;
mod prune;
pub(super) mod report;
mod search;
pub(super) mod shots;

pub use options::{FactorPlace, Fisher, LineKinds, LowRankOptions, SearchOptions, SurgeonOptions};
pub use plan::SurgeonPlan;

use report::begin_report;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::checkpoint::{Checkpoint, CheckpointWriter, Reshaping};
use crate::gpu::{Gpu, Recording};
use crate::model::{Decoder, LinearGradient, Spec};
use crate::prune::Pattern;
use crate::prune::surgeon::{CostHistogram, RemovedLines, allocate, cheapest_lines};
use crate::report::{LinearRecord, PruneReport, SearchRecord, ShotRecord};
use crate::run::RunError;
use crate::run::curvature::factors::{FactorStore, Half, LayerFactors, Wanted};
use crate::run::curvature::pass::{BackwardPass, Loss};
use crate::run::curvature::piece::pieces;
use crate::run::order::linears_of;
use crate::run::progress::Progress;
use crate::run::report::{in_products, warn_of_damping, warn_of_experts};
use crate::run::samples::SampleSets;
use costs::Weighed;
use prune::LinearDecision;
use search::{Searched, Target};
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
        let store = match self.plan.factors_on_disk {
            true => Some(self.store(Wanted::ALL)?),
            false => None,
        };
        let (weighed, loss) = self.curvature(shot, current, store.as_ref())?;
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
        let before = std::mem::take(&mut self.report.linears);
        let searched = match &store {
            Some(store) if self.plan.searches() => Some(self.search((shot, current), store, &weighed, target)?),
            _ => None,
        };
        let mut writer = self.writer(current, Reshaping::default())?;
        let orders: Vec<LinearDecision<'_>> = match (&searched, &lines) {
            (Some(searched), _) => searched.orders().collect(),
            (None, Some(lines)) => lines.iter().map(LinearDecision::Lines).collect(),
            (None, None) => {
                let removed = allocate(&weighed.removal, target.removed);
                removed.into_iter().map(LinearDecision::Remove).collect()
            }
        };
        self.prune(shot, current, (store.as_ref(), &orders), &mut writer)?;
        self.add_products(&before, searched.as_ref());
        self.report.phases.solve += clock.elapsed().as_secs_f64();
        self.note(shot, (share, target), &loss, searched.map(|found| found.record));
        let mut warnings = warn_of_experts(&self.report.linears);
        warnings.extend(warn_of_damping(&self.report.linears));
        self.sum_up(warnings);
        self.leave(writer)?;
        drop(earlier);
        self.commit()
    }

    /// The backward pass: saves every layer's factors, if there is room, and counts the costs of every linear, first layer first.
    fn curvature(
        &mut self,
        shot: usize,
        current: &Checkpoint,
        store: Option<&FactorStore>,
    ) -> Result<(Weighed, Loss), RunError> {
        let (plan, gpu) = (self.plan, self.gpu);
        let decoder = Decoder::new(gpu, current, &plan.spec, plan.options.samples.length)?;
        let pass = pass(plan, shot, &decoder, (self.samples, self.stop));
        let (mut layers, half_steps) = (Vec::new(), plan.surgeon.half_steps);
        let mut found = |half_step: usize, layer, factors: &mut LayerFactors| {
            if let Some(store) = store {
                store.put(gpu, layer, factors)?;
            }
            if half_step == half_steps {
                layers.push(plan.costs(&decoder, (layer, shot), factors)?);
            }
            let done = linears_of(&plan.spec, layer..plan.spec.layers)?;
            self.progress
                .layer(layer, half_step * plan.linears + done, plan.steps());
            Ok(())
        };
        let loss = pass.factors(Wanted::ALL, |layer, factors| found(0, layer, factors))?;
        for number in 0..half_steps {
            let store = store.expect("a plan with half-steps keeps the factors");
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

    /// The second pass of a shot: every layer pruned with its factors, by an order for each linear of the forward pass. Without a
    /// store it is backward too.
    fn prune(
        &mut self,
        shot: usize,
        current: &Checkpoint,
        (store, orders): (Option<&FactorStore>, &[LinearDecision<'_>]),
        writer: &mut CheckpointWriter<'_>,
    ) -> Result<(), RunError> {
        let (plan, gpu, original, stop) = (self.plan, self.gpu, self.original, self.stop);
        let surgery = prune::Surgery {
            plan,
            gpu,
            original,
            current,
        };
        let first = first_pieces(&plan.spec)?;
        let mut records = vec![Vec::new(); plan.spec.layers];
        let mut done = plan.steps() - plan.linears;
        let mut each = |layer: usize, factors: &mut LayerFactors| {
            let mut orders = orders[first[layer]..].iter().copied();
            records[layer] = surgery.layer(layer, factors, &mut orders, writer)?;
            for record in &records[layer] {
                done += 1;
                self.progress.linear(done, plan.steps(), record);
            }
            current.release_all();
            original.release_all();
            self.progress.layer(layer, done, plan.steps());
            Ok(())
        };
        match store {
            None => {
                let decoder = Decoder::new(gpu, current, &plan.spec, plan.options.samples.length)?;
                pass(plan, shot, &decoder, (self.samples, stop)).factors(Wanted::ALL, each)?;
            }
            Some(store) => {
                for layer in 0..plan.spec.layers {
                    if stop.load(Ordering::Relaxed) {
                        return Err(RunError::Interrupted);
                    }
                    each(layer, &mut store.get(gpu, &plan.spec, layer)?)?;
                }
            }
        }
        self.report.linears = records.into_iter().flatten().collect();
        Ok(())
    }

    /// To the arithmetic of a linear's last pass that of its search and of the shots before.
    fn add_products(&mut self, before: &[LinearRecord], searched: Option<&Searched>) {
        for (i, record) in self.report.linears.iter_mut().enumerate() {
            let searched = searched.and_then(|found| found.flops.get(&record.tensor));
            record.products += before.get(i).map_or(0.0, |record| record.products)
                + searched.map_or(0.0, |flops| in_products(*flops, record.shape));
        }
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

/// A pass of a shot through the model that is there before it.
fn pass<'p>(
    plan: &SurgeonPlan,
    shot: usize,
    decoder: &'p Decoder<'p>,
    (samples, stop): (&'p SampleSets, &'p AtomicBool),
) -> BackwardPass<'p> {
    BackwardPass {
        decoder,
        ids: samples.of(shot),
        activations: plan.activation_options(),
        fisher: plan.targets(shot),
        layers: false,
        stop,
    }
}

/// Linears of the forward pass before each layer.
fn first_pieces(spec: &Spec) -> Result<Vec<usize>, RunError> {
    let mut first = vec![0];
    for layer in 0..spec.layers {
        let groups = spec.groups(layer)?;
        let count: usize = groups.iter().map(|group| pieces(&group.linears).count()).sum();
        first.push(first[layer] + count);
    }
    Ok(first)
}

/// Rows and columns that are zero after a shot, linear by linear; those of the shot before cost nothing and are among
/// them.
fn lines(plan: &SurgeonPlan, weighed: &Weighed, share: f64) -> Vec<RemovedLines> {
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
