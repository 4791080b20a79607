//! What is weighed in the first pass of a shot: curvatures from factors, and the costs of all that may go, counted.

use std::rc::Rc;

use super::factors::{LayerFactors, Sum};
use super::options::LineKinds;
use super::piece::{Piece, pieces};
use super::plan::SurgeonPlan;
use super::search::Weighed;
use crate::gpu::Gpu;
use crate::model::{Decoder, Spec, Tap};
use crate::prune::surgeon::{
    CostHistogram, Costs, Curvature, Grain, LinearLines, MetricProblem, Saliency, Side, column_costs, row_costs,
};
use crate::prune::{Damping, Pattern};
use crate::run::RunError;
use crate::tensor::Tensor;

/// What a pattern removes as one.
pub(super) fn grain(pattern: Pattern) -> Grain {
    match pattern {
        Pattern::Unstructured { .. } => Grain::Weights,
        Pattern::NM { n, m } => Grain::Groups { n, m },
    }
}

/// A side from its sums, and the tokens in them.
pub(in crate::run) fn side(gpu: &Gpu, sum: Sum, damping: Damping, place: &str) -> Result<(Rc<Side>, usize), RunError> {
    let Sum { matrix, tokens } = sum;
    Ok((Rc::new(Side::prepare(gpu, matrix, tokens, damping, place)?), tokens))
}

/// Gives the curvature of every linear of the forward pass of a layer that has factors to `each`, with where it reads, in the
/// order of the linears; the factors are used up. Damping is that of inputs and of outputs.
pub(in crate::run) fn each_curvature(
    (gpu, spec): (&Gpu, &Spec),
    layer: usize,
    factors: &mut LayerFactors,
    damping: [Damping; 2],
    mut each: impl FnMut(Tap, &Piece<'_>, &Curvature) -> Result<(), RunError>,
) -> Result<(), RunError> {
    for (number, group) in spec.groups(layer)?.iter().enumerate() {
        if !factors.has(number) {
            continue;
        }
        let place = format!("layer {layer}, {:?}", group.input);
        let (inputs, _) = side(gpu, factors.take_inputs(number), damping[0], &place)?;
        for piece in pieces(&group.linears) {
            let (outputs, _) = side(gpu, factors.take_outputs(piece.id), damping[1], &place)?;
            let curvature = Curvature {
                outputs,
                inputs: inputs.clone(),
            };
            each(group.input, &piece, &curvature)?;
        }
    }
    Ok(())
}

/// How costs are counted.
pub(in crate::run) struct Weigh {
    pub(in crate::run) pattern: Pattern,
    /// Of the factors of inputs and of outputs.
    pub(in crate::run) damping: [Damping; 2],
}

impl Weigh {
    /// Gives every linear of the forward pass of a layer to `each`, in the order of [`super::prune::Surgery::layer`], with its
    /// costs, counted, and the energy of each of its outputs' gradients; the factors are used up.
    pub(in crate::run) fn histograms(
        &self,
        decoder: &Decoder<'_>,
        layer: usize,
        factors: &mut LayerFactors,
        mut each: impl FnMut(&Piece<'_>, CostHistogram, Vec<f64>),
    ) -> Result<(), RunError> {
        self.each(decoder, layer, factors, |piece, curvature, weight| {
            let costs = self.removal(decoder.gpu, curvature, weight)?;
            each(piece, costs, curvature.outputs.energy());
            Ok(())
        })
    }

    /// What removing weights or groups costs.
    fn removal(&self, gpu: &Gpu, curvature: &Curvature, weight: &Tensor) -> Result<CostHistogram, RunError> {
        let costs = Costs::new(gpu, curvature, weight, Saliency::Obs, grain(self.pattern))?;
        Ok(costs.histogram(gpu, weight)?)
    }

    /// Gives every linear of the forward pass of a layer with its curvature and weight to `each`.
    fn each(
        &self,
        decoder: &Decoder<'_>,
        layer: usize,
        factors: &mut LayerFactors,
        mut each: impl FnMut(&Piece<'_>, &Curvature, &Tensor) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let (gpu, spec) = (decoder.gpu, decoder.spec);
        each_curvature((gpu, spec), layer, factors, self.damping, |_, piece, curvature| {
            let (weight, _) = piece.weight(gpu, decoder.checkpoint)?;
            each(piece, curvature, &weight)
        })
    }
}

impl SurgeonPlan {
    /// The costs of a layer's linears, in the order of [`super::prune::Surgery::layer`]; the factors are used up.
    pub(super) fn costs(
        &self,
        decoder: &Decoder<'_>,
        layer: usize,
        factors: &mut LayerFactors,
    ) -> Result<Weighed, RunError> {
        let (gpu, weigh, kinds) = (decoder.gpu, self.weigh(), self.surgeon.lines);
        let mut out = Weighed::default();
        weigh.each(decoder, layer, factors, |_, curvature, weight| {
            if kinds.any() {
                out.lines.push(lines(gpu, curvature, weight, kinds)?);
                return Ok(());
            }
            out.removal.push(weigh.removal(gpu, curvature, weight)?);
            if self.searches() {
                let problem = MetricProblem::new(gpu, curvature, weight)?;
                let costs = problem.costs(gpu, problem.weight(), Grain::Weights)?;
                out.alone.push(costs.histogram(gpu, weight)?);
            }
            Ok(())
        })?;
        Ok(out)
    }
}

/// What the rows and columns of a weight cost.
fn lines(gpu: &Gpu, curvature: &Curvature, weight: &Tensor, kinds: LineKinds) -> Result<LinearLines, RunError> {
    let none = Vec::new;
    Ok(LinearLines {
        shape: weight.shape(),
        rows: match kinds.rows {
            true => row_costs(gpu, curvature, weight, Saliency::Obs)?,
            false => none(),
        },
        cols: match kinds.columns {
            true => column_costs(gpu, curvature, weight, Saliency::Obs)?,
            false => none(),
        },
    })
}
