//! The walk over decoder layers: capture (or read) the inputs, prune (or save them), replay, commit, next layer. Once,
//! for every method and family, and built so that it can stop after any layer and go on from there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::Value;

use super::permute::{follow, unpermuted};
use super::plan::Plan;
use super::solve::Solver;
use super::source::{HiddenStates, LayerInputs, Replaced};
use super::statistics::StatisticsWriter;
use crate::checkpoint::CheckpointWriter;
use crate::model::{Decoder, Group};
use crate::prune::{Candidate, GramStatistics, InputStatistics, Permutation};
use crate::report::PruneReport;
use crate::run::folder::allocation::Allocated;
use crate::run::folder::{RunFolder, Step};
use crate::run::report::in_products;
use crate::run::{Progress, RunError};

/// A run through the layers, and what it has found so far.
pub(in crate::run) struct Walk<'w, 'a> {
    pub(in crate::run) plan: &'a Plan,
    pub(in crate::run) decoder: &'w Decoder<'a>,
    /// What enters the next layer; gone after the last, and absent where sums were saved before.
    pub(in crate::run) entering: Option<HiddenStates>,
    pub(in crate::run) sink: Sink<'w, 'a>,
    pub(in crate::run) report: PruneReport,
    /// Sparsity by tensor, where it is not the same for all.
    pub(in crate::run) allocated: Option<Allocated>,
    pub(in crate::run) progress: &'w mut dyn Progress,
    pub(in crate::run) stop: &'w AtomicBool,
    pub(in crate::run) done: usize,
}

/// What becomes of the sums.
pub(in crate::run) enum Sink<'w, 'a> {
    /// The linears are pruned on them and written to the folder.
    Checkpoint(&'w mut CheckpointWriter<'a>, &'w mut RunFolder),
    /// They are saved.
    Statistics(&'w mut StatisticsWriter),
    /// What pruning on them would cost is noted.
    Candidates(&'w mut Vec<(String, Candidate)>),
}

impl<'w, 'a: 'w> Walk<'w, 'a> {
    pub(in crate::run) fn layer(&mut self, layer: usize) -> Result<(), RunError> {
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
            self.entering = inputs.leave()?;
        }
        self.report.phases.propagate += clock.elapsed().as_secs_f64();
        self.commit(layer)
    }

    /// A layer that stays as it is.
    fn pass_through(&mut self, layer: usize) -> Result<(), RunError> {
        let clock = Instant::now();
        if let Some(entering) = &mut self.entering {
            entering.pass(self.decoder, layer)?;
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
        let entering = self.entering.take().expect("a stream enters every layer");
        LayerInputs::captured(self.plan, self.decoder, layer, entering)
    }

    /// Makes the layer durable: its weights, then the state that counts it; or its sums.
    fn commit(&mut self, layer: usize) -> Result<(), RunError> {
        let clock = Instant::now();
        let report = || serde_json::to_value(&self.report).expect("a report is plain data");
        let streams = self.entering.as_ref().map_or(Vec::new(), HiddenStates::streams);
        match &mut self.sink {
            Sink::Candidates(_) => {}
            Sink::Statistics(writer) => writer.end(report(), &streams)?,
            Sink::Checkpoint(writer, folder) => {
                writer.sync()?;
                folder.commit(Step {
                    done: layer + 1,
                    report: report(),
                    found: Value::Null,
                    streams: &streams,
                })?;
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
            Sink::Checkpoint(..) => self.prune(layer, group, sums, inputs),
            Sink::Candidates(_) => self.measure(layer, group, sums),
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

    fn measure(&mut self, layer: usize, group: &Group, sums: GramStatistics) -> Result<(), RunError> {
        let statistics = self.prepare(layer, group, sums)?;
        for linear in &group.linears {
            self.interrupted()?;
            let candidate = self.solver(&statistics, None).candidate(layer, linear)?;
            let Sink::Candidates(found) = &mut self.sink else {
                unreachable!("only candidates are measured")
            };
            found.push((linear.tensor.clone(), candidate));
            self.done += 1;
        }
        Ok(())
    }

    /// The sums of a group, scaled and damped.
    fn prepare(&self, layer: usize, group: &Group, sums: GramStatistics) -> Result<InputStatistics, RunError> {
        let place = format!("layer {layer}, {:?}", group.input);
        let options = &self.plan.options;
        let gpu = self.decoder.gpu;
        Ok(InputStatistics::prepare(
            gpu,
            sums,
            options.damping,
            options.correction,
            &place,
        )?)
    }

    fn prune(
        &mut self,
        layer: usize,
        group: &Group,
        sums: GramStatistics,
        inputs: &mut LayerInputs<'_, '_>,
    ) -> Result<(), RunError> {
        let clock = Instant::now();
        let statistics = self.prepare(layer, group, sums)?;
        self.report.phases.capture += clock.elapsed().as_secs_f64();
        let (clock, before) = (Instant::now(), self.decoder.gpu.flops());
        let (statistics, permutation) = self.permuted(group, statistics)?;
        let searched = clock.elapsed().as_secs_f64();
        let arithmetic = self.decoder.gpu.flops() - before;
        let order = permutation.as_ref().map(|p| &p.inputs[..]);
        self.report.phases.solve += searched;
        let mut replaced = Vec::new();
        for linear in &group.linears {
            self.interrupted()?;
            let clock = Instant::now();
            let weight = inputs.weight(linear);
            let solver = self.solver(&statistics, permutation.as_ref());
            let mut solved = solver.prune(layer, linear, weight)?;
            solved.record.seconds += searched;
            solved.record.products += in_products(arithmetic, linear.shape);
            self.report.phases.solve += clock.elapsed().as_secs_f64();
            let clock = Instant::now();
            let Sink::Checkpoint(writer, _) = &mut self.sink else {
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
            replaced.push(Replaced {
                linear,
                dtype: solved.dtype,
                rows: unpermuted(solved.rows, solved.dtype.size(), order),
                uploaded: solved.uploaded,
            });
        }
        drop(statistics);
        inputs.replace(group, replaced)
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
            allocated: self.allocated.as_ref(),
        }
    }
}
