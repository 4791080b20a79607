//! Magnitude pruning: the smallest |w| go, the rest stay as they are. The baseline that needs no data.

use super::registry::{Defaults, Evidence, MethodRow, Removes, Solver};
use super::{LayerProblem, LayerSolution, Method, Needs, PruneError};
use crate::gpu::{Gpu, Recording};
use crate::ops::dense;

/// Magnitude pruning.
pub static MAGNITUDE: MethodRow = MethodRow {
    name: "magnitude",
    title: "magnitude",
    help: "Keeps the largest weights. Needs no calibration text",
    paper: "",
    evidence: Evidence::Weights,
    removes: &[Removes::Weights, Removes::Groups],
    defaults: Defaults::PUBLISHED,
    options: &[],
    solver: Solver::Layers(|_| Box::new(Magnitude)),
};

/// Keeps the largest |w| of the unscaled weight.
pub struct Magnitude;

impl Method for Magnitude {
    fn needs(&self) -> Needs {
        Needs::Norms
    }

    fn workspace(&self) -> usize {
        8
    }

    fn solve(&self, gpu: &Gpu, problem: &LayerProblem<'_>) -> Result<LayerSolution, PruneError> {
        let (kept, support) = (problem.scratch(gpu, "kept")?, problem.scratch(gpu, "support")?);
        let weight = problem.scratch(gpu, "magnitude solution")?;
        let mut recording = Recording::new();
        problem
            .pattern
            .round(&mut recording, gpu, [&problem.original, &problem.free], &kept, &support)?;
        recording.copy(&problem.weight.slice(), &weight.slice());
        dense::multiply(&mut recording, &support, &weight);
        gpu.submit(recording)?;
        drop(kept);
        LayerSolution::in_one_go(gpu, problem, weight, support)
    }
}
