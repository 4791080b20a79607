//! The pass before a prune that finds how much each linear shall lose: the dense model's inputs, and what pruning on them
//! would cost.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use super::plan::Plan;
use super::report::begin_report;
use super::solve::{Solver, row_blocks};
use super::source::HiddenStates;
use super::walk::{Sink, Walk};
use crate::model::{ActivationOptions, Decoder, LinearSpec};
use crate::prune::surgeon::{CostHistogram, allocate_within};
use crate::prune::{
    Allocation, Candidate, Damping, LayerProblem, MethodOptions, Propagate, Scores, WANDA, Within, allocate, range,
    redundancy,
};
use crate::report::CalibrationRecord;
use crate::run::RunError;
use crate::run::curvature::factors::Wanted;
use crate::run::curvature::pass::{BackwardPass, Targets};
use crate::run::curvature::weigh::CostRule;
use crate::run::curvature::{OUTPUT_DAMPING, damping_of_outputs};
use crate::run::folder::allocation::Allocated;
use crate::run::options::{PruneOptions, StatisticsSource, curvature_samples};
use crate::run::progress::Progress;
use crate::run::samples::TokenIds;
use crate::tensor::DType;

/// Damping that is none: the rules of others know no damping.
const UNDAMPED: f64 = 1e-12;

/// What the pass has to go through and to tell.
pub(in crate::run) struct Pass<'p> {
    pub(in crate::run) ids: Option<&'p TokenIds>,
    pub(in crate::run) calibration: &'p CalibrationRecord,
    pub(in crate::run) progress: &'p mut dyn Progress,
    pub(in crate::run) stop: &'p AtomicBool,
}

impl PruneOptions {
    /// For the pass: one stream through the dense model, nothing replaced.
    fn to_measure(&self) -> Self {
        let propagate = match self.sums {
            StatisticsSource::Loaded(_) => self.propagate,
            _ => Propagate::Pruned,
        };
        PruneOptions {
            method: &WANDA,
            method_options: MethodOptions::default(),
            refit: 0,
            damping: Damping {
                fraction: UNDAMPED,
                ..self.damping
            },
            allocation: self.allocates(),
            propagate,
            within: Within::Linear,
            ..self.clone()
        }
    }
}

/// Goes through the dense model once and divides the budget; none if every linear gets the same.
pub(in crate::run) fn allocation(
    plan: &Plan,
    decoder: &Decoder<'_>,
    pass: Pass<'_>,
) -> Result<Option<Allocated>, RunError> {
    let rule = plan.options.allocates();
    if rule == Allocation::Uniform {
        return Ok(None);
    }
    let (gpu, checkpoint) = (decoder.gpu, decoder.checkpoint);
    pass.progress
        .stage(&format!("measure every linear for `allocation` {}", rule.name()));
    if rule == Allocation::Curvature {
        return by_curvature(plan, decoder, pass).map(Some);
    }
    let measure = Plan::resolve(plan.options.to_measure(), checkpoint, plan.spec.clone(), gpu)?;
    let embed = |ids: &TokenIds| HiddenStates::embedded(&measure, decoder, ids);
    let mut found = Vec::new();
    let mut walk = Walk {
        plan: &measure,
        decoder,
        entering: pass.ids.map(embed).transpose()?,
        sink: Sink::Candidates(&mut found),
        report: begin_report(&measure, checkpoint, gpu, pass.calibration.clone()),
        allocated: None,
        progress: pass.progress,
        stop: pass.stop,
        done: 0,
    };
    (0..measure.layers).try_for_each(|layer| walk.layer(layer))?;
    drop(walk);
    let (names, candidates): (Vec<String>, Vec<Candidate>) = found.into_iter().unzip();
    let options = &plan.options;
    let shares = allocate(rule, &candidates, options.pattern.sparsity(), options.spread());
    Ok(Some(Allocated {
        shares: names.into_iter().zip(shares).collect(),
        outputs: BTreeMap::new(),
    }))
}

/// The threshold of LLM Surgeon's costs, within the spread; and outputs by the energy of their gradients, the diagonal of
/// its G.
fn by_curvature(plan: &Plan, decoder: &Decoder<'_>, pass: Pass<'_>) -> Result<Allocated, RunError> {
    let options = &plan.options;
    let weigh = CostRule {
        pattern: options.pattern,
        share: options.pattern.sparsity(),
        damping: [options.damping, damping_of_outputs(OUTPUT_DAMPING)],
    };
    let ids = pass.ids.expect("a plan with this rule captures its inputs");
    let ids = spread_out(ids, curvature_samples(&options.samples));
    // Streams of all layers are kept at once.
    let activations = ActivationOptions {
        dtype: DType::F32,
        ram_budget: Some(plan.demand.curvature_ram),
        ..plan.activation_options()
    };
    let backward = BackwardPass {
        decoder,
        ids: &ids,
        activations,
        fisher: Targets::Next,
        layers: false,
        stop: pass.stop,
    };
    let mut found: BTreeMap<String, CostHistogram> = BTreeMap::new();
    let mut energies: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut done = 0;
    backward.factors(Wanted::ALL, |layer, factors| {
        if layer < plan.layers && plan.prunes(layer) {
            weigh.histograms(decoder, layer, factors, |piece, histogram, energy| {
                let linear = piece.linear;
                let merged = match found.get(&linear.tensor) {
                    Some(earlier) => earlier.and(&histogram),
                    None => histogram,
                };
                found.insert(linear.tensor.clone(), merged);
                let all = (energies.entry(linear.tensor.clone())).or_insert_with(|| vec![0.0; linear.shape[0]]);
                let rows = piece.part.rows.iter().cloned().flatten();
                rows.zip(energy).for_each(|(row, energy)| all[row] = energy);
            })?;
            done += plan.spec.linears_of(layer)?.len();
        }
        pass.progress.layer(layer, done, plan.linears);
        Ok(())
    })?;
    let (names, histograms): (Vec<String>, Vec<CostHistogram>) = found.into_iter().unzip();
    let total: u64 = histograms.iter().map(CostHistogram::total).sum();
    let sparsity = options.pattern.sparsity();
    let target = (sparsity * total as f64).round() as u64;
    let removed = allocate_within(&histograms, target, range(sparsity, options.spread()));
    let shares = removed
        .iter()
        .zip(&histograms)
        .map(|(removed, h)| *removed as f64 / h.total() as f64);
    let damping = weigh.damping[1].fraction;
    let outputs = energies
        .into_iter()
        .map(|(tensor, energy)| (tensor, weights(&energy, damping)));
    Ok(Allocated {
        shares: names.into_iter().zip(shares).collect(),
        outputs: outputs.collect(),
    })
}

/// So many samples from all over the text: those of plain text are in its order.
fn spread_out(ids: &TokenIds, count: usize) -> Vec<Vec<u32>> {
    let count = count.min(ids.len());
    (0..count).map(|i| ids[i * ids.len() / count].clone()).collect()
}

/// Of outputs by their energies, damped by a fraction of the mean; all alike where there is no gradient.
fn weights(energy: &[f64], damping: f64) -> Vec<f64> {
    let mean = energy.iter().sum::<f64>() / energy.len() as f64;
    let weight = |energy: &f64| (energy / mean + damping) / (1.0 + damping);
    match mean > 0.0 {
        true => energy.iter().map(weight).collect(),
        false => vec![1.0; energy.len()],
    }
}

impl Solver<'_> {
    /// What pruning a linear would cost; [`Plan::solver_rows`] outputs at a time.
    pub(in crate::run) fn candidate(&self, layer: usize, linear: &LinearSpec) -> Result<Candidate, RunError> {
        let (options, shape) = (&self.plan.options, linear.shape);
        let view = (self.checkpoint).tensor_of_shape(&linear.tensor, &linear.stored_shape())?;
        let stored = linear.rows(view.bytes, view.dtype);
        let width = shape[1] * view.dtype.size();
        let norms = self.inputs.norms(self.gpu)?;
        let (mut error, mut scores) = (0.0, Scores::default());
        for block in row_blocks(self.plan.solver_rows(self.gpu, shape), shape[0]) {
            let part = view.dtype.decode(&stored[block.start * width..block.end * width]);
            self.checkpoint.release_all();
            if options.allocates() == Allocation::Owl {
                scores = scores.and(Scores::of(&part, &norms));
                continue;
            }
            let size = [block.len(), shape[1]];
            let problem = LayerProblem::new(self.gpu, self.inputs, size, &part, options.pattern)?;
            error += redundancy(self.gpu, &problem)?;
        }
        Ok(Candidate {
            layer,
            weights: shape[0] * shape[1],
            redundancy: error,
            scores,
        })
    }
}

/// Says that a spread was asked for where every linear has the same sparsity.
pub(in crate::run) fn warn_of_spread(options: &PruneOptions) -> Option<String> {
    (options.spread.is_some() && options.spread_in_use().is_none()).then(|| {
        "`allocation-spread` changed nothing: every linear has the same sparsity here (see `allocation`)".to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::spread_out;

    #[test]
    fn samples_from_all_over_the_text() {
        let ids: Vec<Vec<u32>> = (0..7).map(|i| vec![i]).collect();
        let of = |count| spread_out(&ids, count).concat();
        assert_eq!(of(3), [0, 2, 4]);
        assert_eq!(of(7), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(of(9), of(7));
    }
}
