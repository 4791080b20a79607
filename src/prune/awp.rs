//! AWP (arXiv 2506.10205): projected gradient descent on the layer problem, from Wanda's mask.
//!
//! `V ← P(V − η (V H − B))` with P the projection on the pattern. In the scaled coordinates of the problem P keeps the largest
//! |v| ‖x‖. Where we differ: η is one over the Lipschitz constant of the gradient in place of `2 / ‖H‖_F`, so no step raises
//! the error.

use super::fista::{Factors, one_step};
use super::registry::{Defaults, Evidence, MethodOption, MethodRow, Removes, Solver, Values};
use super::{LayerProblem, LayerSolution, Method, PruneError, Wanda};
use crate::gpu::{Gpu, Recording};

const STEPS: MethodOption = MethodOption {
    name: "awp-steps",
    help: "Steps of projected gradient descent. Published runs use 200",
    values: Values::Count(1, 10_000),
    default: "50",
};

/// AWP.
pub static AWP: MethodRow = MethodRow {
    name: "awp",
    title: "AWP",
    help: "Projected gradient descent on each linear layer's output error, starting from Wanda's mask",
    paper: "arXiv 2506.10205",
    evidence: Evidence::Inputs,
    removes: &[Removes::Weights, Removes::Groups],
    defaults: Defaults::PUBLISHED,
    options: &[STEPS],
    solver: Solver::Layers(|options| {
        Box::new(Awp {
            steps: options.count(&STEPS),
        })
    }),
};

/// Projected gradient descent.
pub struct Awp {
    /// Steps of one product with the Gram matrix.
    pub steps: usize,
}

impl Method for Awp {
    fn products(&self, shape: [usize; 2]) -> f64 {
        Wanda.products(shape) + (self.steps + 1) as f64
    }

    /// The problem's four, the start, two results of a step, and two for the error.
    fn workspace(&self) -> usize {
        10
    }

    fn solve(&self, gpu: &Gpu, problem: &LayerProblem<'_>) -> Result<LayerSolution, PruneError> {
        let start = Wanda.solve(gpu, problem)?;
        let (weight, support) = (&start.weight, &start.support);
        let (moved, next) = (problem.scratch(gpu, "moved")?, problem.scratch(gpu, "next iterate")?);
        let factors = Factors {
            step: (1.0 / problem.inputs.lipschitz(gpu)?) as f32,
            threshold: 0.0,
            momentum: 0.0,
        };
        let mut recording = Recording::new();
        recording.copy(&weight.slice(), &moved.slice());
        gpu.submit(recording)?;
        for _ in 0..self.steps {
            let mut recording = Recording::new();
            one_step(&mut recording, gpu, problem, [weight, &moved, &next], factors);
            problem
                .pattern
                .round(&mut recording, gpu, [&moved, &problem.free], weight, support)?;
            gpu.submit(recording)?;
        }
        drop((moved, next));
        let error = problem.errors(gpu, weight)?.objective;
        Ok(LayerSolution {
            error,
            rounds: self.steps,
            ..start
        })
    }
}
