//! K-FAC-weighted convex pruning: LLM Surgeon's solution of a shot, improved by FISTA in the metric of the curvature with
//! one penalty λ for the whole model.
//!
//! It begins where LLM Surgeon ends: the cheapest weights zero, the others refitted. A round goes through the linears twice:
//! FISTA from the best solution so far, its iterate kept; then, with the threshold that removes exactly as many weights of
//! the model as are to go, rounding and the refit of what stays. Objectives of linears add up to the loss the curvature
//! expects of the model, so the best round is known; λ moves on by [`Penalty`]. For N:M the threshold is on groups, and of
//! each the largest stay; λ then only bends the iterate towards zeros.

use std::collections::BTreeMap;

use super::costs::Weighed;
use super::found::SolutionStore;
use super::options::SearchOptions;
use super::plan::SurgeonPlan;
use super::prune::LinearDecision;
use super::shots::Shots;
use crate::checkpoint::Checkpoint;
use crate::gpu::Recording;
use crate::ops::dense;
use crate::prune::surgeon::{
    CostHistogram, Costs, Curvature, LinearLines, MetricProblem, Penalty, RemovedLines, Saliency, Trial, allocate,
    threshold,
};
use crate::report::SearchRecord;
use crate::run::RunError;
use crate::run::curvature::factors::FactorStore;
use crate::run::curvature::piece::LinearSlice;
use crate::run::curvature::weigh::{CostRule, each_curvature, grain};
use crate::tensor::Tensor;

/// How much is to be zero.
#[derive(Clone, Copy)]
pub(in crate::run) struct Target {
    /// Weights or groups.
    pub(in crate::run) removed: u64,
    /// Weights.
    pub(in crate::run) weights: u64,
}

impl Target {
    /// What rows and columns of linears have together; where they meet, once.
    pub(in crate::run) fn of_lines(linears: &[LinearLines], lines: &[RemovedLines]) -> Self {
        let weights = linears.iter().zip(lines).map(|(linear, lines)| {
            let ([height, width], [rows, cols]) = (linear.shape, [lines.rows.len(), lines.cols.len()]);
            (rows * width + cols * height - rows * cols) as u64
        });
        let weights = weights.sum();
        Target {
            removed: weights,
            weights,
        }
    }
}

/// The solutions of a shot.
pub(in crate::run) struct Searched {
    found: SolutionStore,
    /// Expected loss of each linear: zeroed, and as found.
    costs: Vec<[f64; 2]>,
    pub(in crate::run) record: SearchRecord,
    /// Floating-point operations by tensor.
    pub(in crate::run) flops: BTreeMap<String, f64>,
}

impl Searched {
    /// For the pruning of the layers.
    pub(in crate::run) fn orders(&self) -> impl Iterator<Item = LinearDecision<'_>> {
        let costs = self.costs.iter().enumerate();
        costs.map(|(number, cost)| LinearDecision::Take(&self.found, number, *cost))
    }
}

/// A linear in a pass.
struct At<'p> {
    number: usize,
    curvature: &'p Curvature,
    weight: Tensor,
    problem: MetricProblem<'p>,
}

impl At<'_> {
    /// Steps of FISTA; none of a linear that saw no token, where the penalty would take all.
    fn steps(&self, steps: usize) -> usize {
        if self.curvature.unseen() { 0 } else { steps }
    }
}

/// What a search goes on.
struct Search<'s, 'r> {
    shots: &'s mut Shots<'r>,
    plan: &'s SurgeonPlan,
    current: &'s Checkpoint,
    store: &'s FactorStore,
    weigh: CostRule,
    /// Passes done, that of the curvature included.
    passes: usize,
    /// Floating-point operations so far by tensor.
    flops: BTreeMap<String, f64>,
}

impl SearchOptions {
    /// Passes over the linears of a shot, with those before and after the search.
    pub(in crate::run) fn passes(self) -> usize {
        2 + 2 * self.rounds
    }
}

impl Shots<'_> {
    /// Searches the solutions of a shot.
    pub(in crate::run) fn search(
        &mut self,
        (shot, current): (usize, &Checkpoint),
        store: &FactorStore,
        weighed: &Weighed,
        target: Target,
    ) -> Result<Searched, RunError> {
        let plan = self.plan;
        let mut search = Search {
            shots: self,
            plan,
            current,
            store,
            weigh: plan.weigh(shot),
            passes: 1 + plan.surgeon.half_steps,
            flops: BTreeMap::new(),
        };
        search.run(weighed, target)
    }
}

impl Search<'_, '_> {
    fn run(&mut self, weighed: &Weighed, target: Target) -> Result<Searched, RunError> {
        let rounds = self.plan.surgeon.search.rounds;
        let (iterates, mut best) = (self.folder("iterates")?, self.folder("best")?);
        let mut penalty = Penalty::new(threshold(&weighed.alone, target.weights));
        let removed = allocate(&weighed.removal, target.removed);
        let begun = self.begin(&removed, &best, &iterates, penalty.lambda)?;
        let mut costs: Vec<[f64; 2]> = begun.iter().map(|b| b.0).collect();
        let mut histograms: Vec<CostHistogram> = begun.into_iter().map(|b| b.1).collect();
        let start = total(&costs);
        let mut record = SearchRecord {
            start,
            expected: start,
            ..SearchRecord::default()
        };
        for round in 1..=rounds {
            let zeros = histograms.iter().map(|h| h.done() + h.free()).sum();
            let removed = allocate(&histograms, target.removed);
            let next = self.folder(&format!("round-{round}"))?;
            let ended = self.end(&removed, &iterates, &next)?;
            let sum = |of: fn(&Ended) -> f64| ended.iter().map(of).sum::<f64>();
            let expected = sum(|e| e.refitted);
            if expected < record.expected {
                (record.expected, record.lambda, record.round) = (expected, penalty.lambda, round);
                costs.iter_mut().zip(&ended).for_each(|(cost, e)| cost[1] = e.refitted);
                best = next;
            }
            self.shots.progress.stage(&format!(
                "round {round} of {rounds}: expected loss {expected:.4} nats a token with penalty {:.2e}, LLM Surgeon's {start:.4}",
                penalty.lambda
            ));
            penalty.learn(&Trial {
                zeros,
                target: target.removed,
                rounded: sum(|e| e.rounded),
                rounding: sum(|e| e.rounding),
            });
            if round < rounds {
                histograms = self.descend(&best, &iterates, penalty.lambda)?;
            }
        }
        Ok(Searched {
            found: best,
            costs,
            record,
            flops: std::mem::take(&mut self.flops),
        })
    }

    fn folder(&self, name: &str) -> Result<SolutionStore, RunError> {
        Ok(SolutionStore::create(self.shots.folder_of(name))?)
    }

    /// LLM Surgeon's solution, its costs, and the first iterate.
    fn begin(
        &mut self,
        removed: &[u64],
        best: &SolutionStore,
        iterates: &SolutionStore,
        lambda: f64,
    ) -> Result<Vec<([f64; 2], CostHistogram)>, RunError> {
        let (gpu, weigh, options) = (self.shots.gpu, self.weigh, &self.plan.surgeon);
        let grain = grain(weigh.pattern);
        let (refit, steps) = (options.refit, options.search.steps);
        self.pass(|at| {
            let support = {
                let costs = Costs::new(gpu, at.curvature, &at.weight, Saliency::Obs, grain)?;
                costs.keep(gpu, &at.weight, removed[at.number])?
            };
            let found = at.problem.refit(gpu, [at.problem.weight(), &support], refit)?;
            best.put(gpu, at.number, (&found.weight, Some(&support)))?;
            drop(support);
            let iterate = at.problem.lasso(gpu, &found.weight, lambda, at.steps(steps))?;
            iterates.put(gpu, at.number, (&iterate, None))?;
            let cost = [found.before, found.after];
            drop(found);
            let histogram = at.problem.costs(gpu, &iterate, grain)?.histogram(gpu, &at.weight)?;
            Ok((cost, weigh.known(at.curvature, histogram)))
        })
    }

    /// FISTA from the best solution so far.
    fn descend(
        &mut self,
        best: &SolutionStore,
        iterates: &SolutionStore,
        lambda: f64,
    ) -> Result<Vec<CostHistogram>, RunError> {
        let (gpu, weigh, steps) = (self.shots.gpu, self.weigh, self.plan.surgeon.search.steps);
        let grain = grain(weigh.pattern);
        self.pass(|at| {
            let iterate = {
                let start = best.weight(gpu, at.number, at.weight.shape())?;
                at.problem.lasso(gpu, &start, lambda, at.steps(steps))?
            };
            iterates.put(gpu, at.number, (&iterate, None))?;
            let histogram = at.problem.costs(gpu, &iterate, grain)?.histogram(gpu, &at.weight)?;
            Ok(weigh.known(at.curvature, histogram))
        })
    }

    /// Rounds the iterates and refits what stays.
    fn end(&mut self, removed: &[u64], iterates: &SolutionStore, next: &SolutionStore) -> Result<Vec<Ended>, RunError> {
        let (gpu, grain, refit) = (self.shots.gpu, grain(self.weigh.pattern), self.plan.surgeon.refit);
        self.pass(|at| {
            let iterate = iterates.weight(gpu, at.number, at.weight.shape())?;
            let support = {
                let costs = at.problem.costs(gpu, &iterate, grain)?;
                costs.keep(gpu, &at.weight, removed[at.number])?
            };
            let rounding = {
                let rounded = Tensor::empty(gpu, "rounded", iterate.rows(), iterate.cols())?;
                let mut recording = Recording::new();
                recording.copy(&iterate.slice(), &rounded.slice());
                dense::multiply(&mut recording, &support, &rounded);
                gpu.submit(recording)?;
                at.problem.distance(gpu, [&iterate, &rounded])?
            };
            let found = at.problem.refit(gpu, [&iterate, &support], refit)?;
            next.put(gpu, at.number, (&found.weight, Some(&support)))?;
            Ok(Ended {
                rounded: found.before,
                rounding,
                refitted: found.after,
            })
        })
    }

    /// Once through all linears, first layer first.
    fn pass<T>(&mut self, mut each: impl FnMut(&At<'_>) -> Result<T, RunError>) -> Result<Vec<T>, RunError> {
        let (plan, gpu, current, flops) = (self.plan, self.shots.gpu, self.current, &mut self.flops);
        let mut out = Vec::new();
        for layer in 0..plan.spec.layers {
            self.shots.interrupted()?;
            let mut factors = self.store.get(gpu, &plan.spec, layer)?;
            let mut found = |_, piece: &LinearSlice<'_>, curvature: &Curvature| {
                let (weight, _) = piece.weight(gpu, current)?;
                let before = gpu.flops();
                out.push(each(&At {
                    number: out.len(),
                    curvature,
                    problem: MetricProblem::new(gpu, curvature, &weight)?,
                    weight,
                })?);
                *flops.entry(piece.linear.tensor.clone()).or_default() += gpu.flops() - before;
                Ok(())
            };
            each_curvature((gpu, &plan.spec), layer, &mut factors, self.weigh.damping, &mut found)?;
            current.release_all();
            let done = self.passes * plan.linears + plan.linears * (layer + 1) / plan.spec.layers;
            self.shots.progress.layer(layer, done, plan.steps());
        }
        self.passes += 1;
        Ok(out)
    }
}

/// What became of an iterate.
struct Ended {
    /// Objective once rounded.
    rounded: f64,
    /// Distance from the iterate, squared.
    rounding: f64,
    /// Objective once refitted.
    refitted: f64,
}

fn total(costs: &[[f64; 2]]) -> f64 {
    costs.iter().map(|cost| cost[1]).sum()
}
