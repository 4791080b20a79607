//! RIA (Zhang et al., ICLR 2024): relative importance and activations. Score
//! `(|w_ij| / Σ_i |w_ij| + |w_ij| / Σ_j |w_ij|) ‖x_j‖^a`, a = 0.5; the rest stay as they are.
//!
//! A linear that is solved in blocks of rows (--max-vram) has the sums over its outputs block by block.
//!
//! A weight counts by its share of its input's and of its output's weights, so that no row or column empties. Left out:
//! the channel permutation for N:M.

use super::registry::{Defaults, Evidence, MethodRow, Removes, Solver};
use super::{LayerProblem, LayerSolution, Method, Needs, PruneError};
use crate::gpu::{Gpu, Recording};
use crate::ops::dense::{self, RowReduce};
use crate::tensor::Tensor;

/// RIA.
pub static RIA: MethodRow = MethodRow {
    name: "ria",
    title: "RIA",
    help: "Keeps weights that are large relative to their row and column and whose inputs have a large norm",
    paper: "ICLR 2024",
    evidence: Evidence::Inputs,
    removes: &[Removes::Weights, Removes::Groups],
    defaults: Defaults::PUBLISHED,
    options: &[],
    solver: Solver::Layers(|_| Box::new(Ria)),
};

/// Exponent of the norms of the inputs.
const EXPONENT: f32 = 0.5;

/// Keeps the largest relative importance.
pub struct Ria;

impl Method for Ria {
    fn needs(&self) -> Needs {
        Needs::Norms
    }

    /// The problem's four; score, its other half, and from there weight and support.
    fn workspace(&self) -> usize {
        8
    }

    fn solve(&self, gpu: &Gpu, problem: &LayerProblem<'_>) -> Result<LayerSolution, PruneError> {
        let (score, weight) = (problem.scratch(gpu, "score")?, problem.scratch(gpu, "ria solution")?);
        self.score(gpu, problem, &score, &weight)?;
        let support = problem.scratch(gpu, "support")?;
        let mut recording = Recording::new();
        problem
            .pattern
            .round(&mut recording, gpu, [&score, &problem.free], &weight, &support)?;
        recording.copy(&problem.weight.slice(), &weight.slice());
        dense::multiply(&mut recording, &support, &weight);
        gpu.submit(recording)?;
        drop(score);
        LayerSolution::in_one_go(gpu, problem, weight, support)
    }
}

impl Ria {
    /// The scores with the signs of the weights, which ranking ignores; `scratch` is overwritten.
    fn score(&self, gpu: &Gpu, problem: &LayerProblem<'_>, score: &Tensor, scratch: &Tensor) -> Result<(), PruneError> {
        let [rows, cols] = score.shape();
        let w = &problem.original;
        let mut recording = Recording::new();
        let turned = scratch.reshaped(cols, rows);
        dense::transpose(&mut recording, w, &turned);
        let mut ids = Vec::with_capacity(2);
        for matrix in [w, &turned] {
            let sums = Tensor::empty(gpu, "sums of magnitudes", 1, matrix.rows())?;
            dense::row_reduce(&mut recording, RowReduce::AbsSum, matrix, matrix, &sums);
            ids.push(recording.read(&sums.slice()));
        }
        let done = gpu.submit(recording)?;
        // A row or column of zeros has nothing to rank.
        let shares = |id| {
            Ok::<_, PruneError>(
                done.floats(id)?
                    .iter()
                    .map(|s| if *s > 0.0 { 1.0 / s } else { 0.0 })
                    .collect(),
            )
        };
        let (by_row, by_col): (Vec<f32>, Vec<f32>) = (shares(ids[0])?, shares(ids[1])?);
        let norms: Vec<f32> = problem.inputs.norms(gpu)?.iter().map(|v| v.powf(EXPONENT)).collect();
        let both: Vec<f32> = by_col.iter().zip(&norms).map(|(s, n)| s * n).collect();
        let row = |values: &[f32]| Tensor::upload(gpu, "shares", 1, values.len(), values);
        let mut recording = Recording::new();
        for (out, [rows, cols]) in [(score, [&vec![1.0; rows], &both]), (scratch, [&by_row, &norms])] {
            recording.copy(&w.slice(), &out.slice());
            dense::scale(&mut recording, out, &row(rows)?, &row(cols)?);
        }
        dense::axpby(&mut recording, 1.0, scratch, 1.0, score);
        gpu.submit(recording)?;
        Ok(())
    }
}
