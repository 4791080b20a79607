//! Wanda (Sun et al. 2023): score |w| ‖x‖, which is the magnitude of the scaled weight; the rest stay as they are. Scores
//! compete within a row, as published, unless the pattern's scope is the whole matrix.

use super::registry::{Defaults, Evidence, MethodRow, Removes, Solver};
use super::{LayerProblem, LayerSolution, Method, Needs, PruneError, Scope};
use crate::gpu::{Gpu, Recording};

/// Wanda.
pub static WANDA: MethodRow = MethodRow {
    name: "wanda",
    title: "Wanda",
    help: "Keeps, in every row, the weights with the largest product of magnitude and input norm",
    paper: "arXiv 2306.11695",
    evidence: Evidence::Inputs,
    removes: &[Removes::Weights, Removes::Groups],
    defaults: Defaults {
        scope: Scope::Row,
        ..Defaults::PUBLISHED
    },
    options: &[],
    solver: Solver::Layers(|_| Box::new(Wanda)),
};

/// Keeps the largest |w| ‖x‖.
pub struct Wanda;

impl Method for Wanda {
    fn needs(&self) -> Needs {
        Needs::Norms
    }

    fn workspace(&self) -> usize {
        8
    }

    fn solve(&self, gpu: &Gpu, problem: &LayerProblem<'_>) -> Result<LayerSolution, PruneError> {
        let (weight, support) = (
            problem.scratch(gpu, "wanda solution")?,
            problem.scratch(gpu, "support")?,
        );
        let mut recording = Recording::new();
        problem
            .pattern
            .round(&mut recording, gpu, [&problem.weight, &problem.free], &weight, &support)?;
        gpu.submit(recording)?;
        LayerSolution::in_one_go(gpu, problem, weight, support)
    }
}
