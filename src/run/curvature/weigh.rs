//! What is weighed in the first pass of a shot: curvatures from factors, and the costs of all that may go, counted.

use super::factors::LayerFactors;
use super::options::LineKinds;
use super::piece::{Piece, pieces};
use super::plan::SurgeonPlan;
use super::search::Weighed;
use crate::gpu::{Gpu, GpuError};
use crate::model::{Decoder, Spec, Tap};
use crate::prune::surgeon::{
    CostHistogram, Costs, Curvature, Grain, LinearLines, MetricProblem, Saliency, column_costs, row_costs,
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
        let inputs = factors.take_inputs(gpu, number, damping[0], &place)?;
        for piece in pieces(&group.linears) {
            let curvature = Curvature {
                outputs: factors.take_outputs(gpu, piece.id, damping[1], &place)?,
                inputs: inputs.clone(),
            };
            each(group.input, &piece, &curvature)?;
        }
    }
    Ok(())
}

/// How costs are counted.
#[derive(Clone, Copy)]
pub(in crate::run) struct Weigh {
    pub(in crate::run) pattern: Pattern,
    /// Share of the weights or groups that is to be zero: that of an expert of which nothing else is known.
    pub(in crate::run) share: f64,
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
        Ok(self.known(curvature, costs.histogram(gpu, weight)?))
    }

    /// The costs of a linear; one that saw no token gets the share of all.
    pub(super) fn known(&self, curvature: &Curvature, costs: CostHistogram) -> CostHistogram {
        match curvature.unseen() {
            true => costs.settled(self.share),
            false => costs,
        }
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
        (layer, shot): (usize, usize),
        factors: &mut LayerFactors,
    ) -> Result<Weighed, RunError> {
        let (gpu, weigh, kinds) = (decoder.gpu, self.weigh(shot), self.surgeon.lines);
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
                out.alone.push(weigh.known(curvature, costs.histogram(gpu, weight)?));
            }
            Ok(())
        })?;
        Ok(out)
    }
}

type LineCosts = fn(&Gpu, &Curvature, &Tensor, Saliency) -> Result<Vec<f64>, GpuError>;

/// What the rows and columns of a weight cost.
fn lines(gpu: &Gpu, curvature: &Curvature, weight: &Tensor, kinds: LineKinds) -> Result<LinearLines, RunError> {
    let [rows, cols] = weight.shape();
    // Of an expert without tokens no line is known to be cheap.
    let costs = |wanted: bool, lines: usize, by: LineCosts| match (wanted, curvature.unseen()) {
        (false, _) => Ok(Vec::new()),
        (true, true) => Ok(vec![f64::INFINITY; lines]),
        (true, false) => by(gpu, curvature, weight, Saliency::Obs),
    };
    Ok(LinearLines {
        shape: [rows, cols],
        rows: costs(kinds.rows, rows, row_costs)?,
        cols: costs(kinds.columns, cols, column_costs)?,
    })
}
