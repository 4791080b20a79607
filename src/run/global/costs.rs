//! The costs of all that may go, counted in the first pass of a shot.

use super::options::LineKinds;
use super::plan::SurgeonPlan;
use crate::gpu::{Gpu, GpuError};
use crate::model::Decoder;
use crate::prune::surgeon::{
    CostHistogram, Curvature, Grain, LinearLines, MetricProblem, Saliency, column_costs, row_costs,
};
use crate::run::RunError;
use crate::run::curvature::factors::LayerFactors;
use crate::tensor::Tensor;

/// What is known of the linears of a model before anything is removed, in their order.
#[derive(Default)]
pub(in crate::run) struct Weighed {
    /// Costs by the inverse of the curvature, of weights or groups.
    pub(in crate::run) removal: Vec<CostHistogram>,
    /// Costs of single weights by the curvature itself: half the squares of scaled weights.
    pub(in crate::run) alone: Vec<CostHistogram>,
    /// Costs of whole rows and columns, in place of the others.
    pub(in crate::run) lines: Vec<LinearLines>,
}

impl SurgeonPlan {
    /// The costs of a layer's linears, in the order of [`super::prune::Surgery::layer`]; the factors are used up.
    pub(in crate::run) fn costs(
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
