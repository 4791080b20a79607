//! ALPS (Meng et al., NeurIPS 2024, arXiv 2406.07831): ADMM whose penalty follows the support, then conjugate gradients.
//!
//! Algorithm 1 with the settings of the published code: ρ starts at 0.1, and every three iterations grows by 1.3, 1.2
//! or 1.1 as at least 10 %, 0.5 % or any of the support moved; it ends when nothing moved, from 30 iterations on when
//! less than 0.03 % did, or after 300. If nothing ever moved, ρ falls to a fifth instead. Ten conjugate-gradient steps on
//! the support follow, with step lengths per output as in the code. Damping is 1 % of the mean energy, targets are
//! symmetric unless a drift is corrected.
//!
//! Where we differ: the inverse is made by Cholesky pivots in f32 when ρ changes, not from an eigendecomposition in f64.

use super::admm::{Splitting, inverse_products};
use super::registry::{Defaults, Evidence, MethodRow, Removes, Solver};
use super::row_sums::sum;
use super::{DampingRule, LayerProblem, LayerSolution, Method, PruneError, Wanda, refit};
use crate::gpu::{Gpu, GpuError, Recording};
use crate::linalg::Pivots;
use crate::ops::dense::{self, RowReduce};
use crate::ops::prox::Penalty;
use crate::tensor::Tensor;

/// ALPS.
pub static ALPS: MethodRow = MethodRow {
    name: "alps",
    title: "ALPS",
    help: "ADMM whose penalty grows by how much the support changes, then conjugate gradients on the kept weights",
    paper: "arXiv 2406.07831",
    evidence: Evidence::Inputs,
    removes: &[Removes::Weights, Removes::Groups],
    defaults: Defaults {
        damping: DampingRule::Mean,
        ..Defaults::PUBLISHED
    },
    options: &[],
    solver: Solver::Layers(|_| Box::new(Alps)),
};

/// First penalty.
const RHO: f64 = 0.1;
/// Iterations between two looks at the support.
const EVERY: usize = 3;
/// Iterations at most.
const MOST: usize = 300;
/// Iterations after which little movement is enough to end.
const LEAST: usize = 30;
/// That little movement, as a share of the support.
const LITTLE: f64 = 3e-4;
/// Growth of the penalty by the share of the support that moved, largest first.
const GROWTH: [(f64, f64); 2] = [(0.1, 1.3), (0.005, 1.2)];
/// Growth when less moved.
const SLOW: f64 = 1.1;
/// Largest penalty.
const CEILING: f64 = 1e6;
/// Conjugate-gradient steps.
const STEPS: usize = 10;

/// ALPS.
pub struct Alps;

impl Method for Alps {
    fn products(&self, shape: [usize; 2]) -> f64 {
        // It mostly ends soon after the least number of iterations.
        (LEAST + EVERY + STEPS) as f64 + (LEAST / EVERY) as f64 * inverse_products(shape)
    }

    fn workspace(&self) -> usize {
        12
    }

    fn squares(&self) -> usize {
        1
    }

    fn solve(&self, gpu: &Gpu, problem: &LayerProblem<'_>) -> Result<LayerSolution, PruneError> {
        let start_error = Wanda.solve(gpu, problem)?.start_error;
        let mut splitting = Splitting::new(gpu, problem)?;
        let mut rounds = 0;
        problem.inputs.factorise(|shift| {
            splitting.damp(gpu, shift)?;
            let (taken, failed) = run(gpu, problem, &splitting, shift)?;
            rounds = taken;
            Ok(failed)
        })?;
        let Splitting { kept, support, .. } = splitting;
        let solution = LayerSolution {
            error: problem.errors(gpu, &kept)?.objective,
            weight: kept,
            support,
            start_error,
            rounds,
            lambda: 0.0,
        };
        refit(gpu, problem, solution, STEPS)
    }
}

/// Iterations taken, and the row of the first failed pivot.
fn run(
    gpu: &Gpu,
    problem: &LayerProblem<'_>,
    splitting: &Splitting<'_>,
    shift: f32,
) -> Result<(usize, Option<usize>), GpuError> {
    splitting.begin(gpu)?;
    let pivots = splitting.pivots(gpu)?;
    let older = problem.scratch(gpu, "support before")?;
    let mut recording = Recording::new();
    recording.copy(&splitting.support.slice(), &older.slice());
    gpu.submit(recording)?;
    let [rows, cols] = problem.weight.shape();
    let size = problem.pattern.kept(rows, cols) as f64;
    let (mut rho, mut before, mut ever) = (RHO, RHO, false);
    let mut inverted = 0.0;
    for taken in (EVERY..=MOST).step_by(EVERY) {
        let mut recording = Recording::new();
        if rho != inverted {
            splitting.invert(&mut recording, gpu, rho as f32 + shift, &pivots)?;
            inverted = rho;
        }
        splitting.iterate(&mut recording, gpu, Penalty { before, next: rho }, 0..EVERY)?;
        before = rho;
        let (moved, failed) = look(recording, gpu, splitting, &older, &pivots)?;
        if failed.is_some() {
            return Ok((taken, failed));
        }
        let share = moved / size.max(1.0);
        if (taken >= LEAST && share < LITTLE) || (moved == 0.0 && ever) {
            return Ok((taken, None));
        }
        let growth = GROWTH.iter().find(|(least, _)| share >= *least).map_or(SLOW, |g| g.1);
        if moved == 0.0 {
            rho /= 5.0;
            before = rho;
            splitting.begin(gpu)?;
        } else {
            rho = (rho * growth).min(CEILING);
            ever = true;
        }
    }
    Ok((MOST, None))
}

/// How many elements of the support moved since the last look, and the first failed pivot.
fn look(
    mut recording: Recording,
    gpu: &Gpu,
    splitting: &Splitting<'_>,
    older: &Tensor,
    pivots: &Pivots,
) -> Result<(f64, Option<usize>), GpuError> {
    let counts = Tensor::empty(gpu, "row counts", 1, older.rows())?;
    dense::axpby(&mut recording, 1.0, &splitting.support, -1.0, older);
    dense::row_reduce(&mut recording, RowReduce::CountNonZero, older, older, &counts);
    let moved = recording.read(&counts.slice());
    recording.copy(&splitting.support.slice(), &older.slice());
    let pivots = pivots.read(&mut recording);
    let done = gpu.submit(recording)?;
    Ok((sum(&done, moved)?, Pivots::failed(&done, pivots)?))
}
