//! SparseGPT (Frantar & Alistarh 2023, arXiv 2301.00774, Algorithm 1): columns from left to right in blocks of 128; what
//! a block loses is made up for by the columns after it, through the inverse Gram `H⁻¹ = Uᵀ U`.
//!
//! A block's mask ranks `w² / U_jj²` over all its rows when the sweep reaches it; N:M chooses at every M-th column. Then
//! `err_j = (w_j − q_j) / U_jj`, `w_k −= err_j U_jk`. It runs in the scaled coordinates of the problem, under which the
//! method does not change: `U' = U / e` by columns, so scores and errors are the same numbers.
//!
//! Damping is 1 % of the mean energy, as published. Where we differ: exact counts, rounded cumulatively, so
//! that the whole matrix has the pattern's; with `--scope row` they hold in every row of a block; zeros of the input are
//! never counted as kept, and a block with too few weights leaves its share to the others. Where the inputs have drifted
//! from the dense ones the sweep starts from the unpruned minimiser `V0 = B H⁻¹` of the problem (B its target) instead
//! of W: but for a constant `‖V X* − W X‖²` is `‖(V − V0) X*‖²`, so the cross target costs two products.

use super::admm::inverse_products;
use super::registry::{Defaults, Evidence, MethodRow, Removes, Solver};
use super::{DampingRule, LayerProblem, LayerSolution, Method, Pattern, PruneError, Scope};
use crate::gpu::{Gpu, GpuError, Recording};
use crate::ops::dense::{self, Gemm, Layout, RowReduce};
use crate::ops::prox::{self, Keep, OBS_COLS, ObsSweep, Survivors};
use crate::tensor::{PanelMatrix, Tensor};

/// SparseGPT.
pub static SPARSEGPT: MethodRow = MethodRow {
    name: "sparsegpt",
    title: "SparseGPT",
    help: "Prunes the columns from left to right. Later columns compensate for the error, by the inverse Gram matrix",
    paper: "arXiv 2301.00774",
    evidence: Evidence::Inputs,
    removes: &[Removes::Weights, Removes::Groups],
    defaults: Defaults {
        damping: DampingRule::Mean,
        ..Defaults::PUBLISHED
    },
    options: &[],
    solver: Solver::Layers(|_| Box::new(SparseGpt)),
};

/// SparseGPT.
pub struct SparseGpt;

impl Method for SparseGpt {
    /// The factor, and what it is made in.
    fn squares(&self) -> usize {
        2
    }

    fn products(&self, shape: [usize; 2]) -> f64 {
        // Updates of ever fewer columns, and the factor, as if every linear had its own.
        0.5 + inverse_products(shape)
    }

    /// The problem's four, weight and support, and two for the error; from 256 inputs on the four of a block are less.
    fn workspace(&self) -> usize {
        8
    }

    fn solve(&self, gpu: &Gpu, problem: &LayerProblem<'_>) -> Result<LayerSolution, PruneError> {
        let factor = problem.inputs.inverse_factor(gpu)?;
        let (weight, support) = (
            problem.scratch(gpu, "sparsegpt solution")?,
            problem.scratch(gpu, "support")?,
        );
        start(gpu, problem, &factor, &weight, &support)?;
        let blocks = blocks(gpu, problem)?;
        for block in &blocks {
            let mut recording = Recording::new();
            block.record(&mut recording, gpu, problem, &factor, [&weight, &support])?;
            // Now, because the scratch of a block lives as long as its recording.
            gpu.submit(recording)?;
        }
        drop(factor);
        LayerSolution::in_one_go(gpu, problem, weight, support)
    }
}

/// The unpruned minimiser, into `weight`, as the difference from W, so that nothing large cancels; `scratch` is
/// overwritten.
fn start(
    gpu: &Gpu,
    problem: &LayerProblem<'_>,
    factor: &PanelMatrix,
    weight: &Tensor,
    scratch: &Tensor,
) -> Result<(), GpuError> {
    let mut recording = Recording::new();
    recording.copy(&problem.weight.slice(), &weight.slice());
    if let Some((share, correction)) = problem.correction() {
        for (first, panel) in factor.panels() {
            let call = Gemm {
                out_col: first,
                ..Gemm::new(correction, panel, Layout::NT, scratch)
            };
            dense::gemm(&mut recording, gpu, &call);
        }
        for (first, panel) in factor.panels() {
            let call = Gemm {
                a_col: first,
                alpha: -share,
                ..Gemm::new(scratch, panel, Layout::NN, weight).add()
            };
            dense::gemm(&mut recording, gpu, &call);
        }
    }
    gpu.submit(recording)?;
    Ok(())
}

/// A block of columns and the weights it keeps: in all, per row, or as N:M says.
struct ColumnBlock {
    first: usize,
    width: usize,
    keep: usize,
}

/// Columns of a block of a matrix of `cols` columns: 128, fewer where the device binds less than as many rows of its Gram.
pub(super) fn block_columns(gpu: &Gpu, cols: usize) -> usize {
    OBS_COLS.min((gpu.limits().binding / (4 * cols as u64)) as usize)
}

/// All blocks, 128 columns each: fewer where groups of N:M do not fit, or the device binds less than 128 rows of U.
fn blocks(gpu: &Gpu, problem: &LayerProblem<'_>) -> Result<Vec<ColumnBlock>, GpuError> {
    let [rows, cols] = problem.weight.shape();
    let group = match problem.pattern {
        Pattern::NM { m, .. } => m,
        Pattern::Unstructured { .. } => 1,
    };
    let width = (block_columns(gpu, cols) / group * group).max(group);
    let (height, free) = match problem.pattern {
        Pattern::Unstructured {
            scope: Scope::Matrix, ..
        } => (rows, free_weights(gpu, problem)?),
        _ => (1, vec![1; cols]),
    };
    let total = problem.pattern.kept(height, cols);
    let starts = (0..cols).step_by(width);
    let widths: Vec<[usize; 2]> = starts.map(|first| [first, width.min(cols - first)]).collect();
    let room: Vec<usize> = widths
        .iter()
        .map(|[at, width]| free[*at..at + width].iter().sum())
        .collect();
    let quotas = widths
        .iter()
        .map(|[at, width]| share(total, at + width, cols) - share(total, *at, cols));
    let keeps = shared_out(quotas.collect(), &room);
    let blocks = widths.iter().zip(keeps);
    Ok(blocks
        .map(|(&[first, width], keep)| ColumnBlock { first, width, keep })
        .collect())
}

/// `total * part / whole`, rounded.
fn share(total: usize, part: usize, whole: usize) -> usize {
    ((total as u128 * part as u128 + whole as u128 / 2) / whole as u128) as usize
}

/// Quotas of at most what there is room for; what does not fit goes to later blocks, then to earlier ones.
fn shared_out(mut quotas: Vec<usize>, room: &[usize]) -> Vec<usize> {
    let mut left = 0;
    let forward: Vec<usize> = (0..quotas.len()).collect();
    for i in forward.iter().chain(forward.iter().rev()) {
        let wanted = quotas[*i] + left;
        quotas[*i] = wanted.min(room[*i]);
        left = wanted - quotas[*i];
    }
    quotas
}

/// Number of weights in each column that are not zero in the input.
fn free_weights(gpu: &Gpu, problem: &LayerProblem<'_>) -> Result<Vec<usize>, GpuError> {
    let [rows, cols] = problem.free.shape();
    let turned = Tensor::empty(gpu, "free by input", cols, rows)?;
    let sums = Tensor::empty(gpu, "free weights", 1, cols)?;
    let mut recording = Recording::new();
    dense::transpose(&mut recording, &problem.free, &turned);
    dense::row_reduce(&mut recording, RowReduce::CountNonZero, &turned, &turned, &sums);
    let id = recording.read(&sums.slice());
    let counts = gpu.submit(recording)?.floats(id)?;
    Ok(counts.iter().map(|v| *v as usize).collect())
}

impl ColumnBlock {
    /// Records mask, sweep, and what the columns after the block lose.
    fn record(
        &self,
        recording: &mut Recording,
        gpu: &Gpu,
        problem: &LayerProblem<'_>,
        factor: &PanelMatrix,
        [v, support]: [&Tensor; 2],
    ) -> Result<(), GpuError> {
        let ([rows, cols], free) = (v.shape(), &problem.free);
        let u = factor.copied_rows(recording, gpu, "rows of the factor", [self.first, self.width])?;
        let err = Tensor::empty(gpu, "errors of a block", rows, self.width)?;
        let sweep = |survivors| ObsSweep {
            u: &u,
            first: self.first,
            survivors,
            v,
            support,
            err: &err,
        };
        match problem.pattern {
            Pattern::NM { n, m } => prox::obs_sweep(recording, &sweep(Survivors::Nm { free, n, m })),
            Pattern::Unstructured { scope, .. } => {
                let scratch = |label| Tensor::empty(gpu, label, rows, self.width);
                let (candidate, kept, mask) = (scratch("free of a block")?, scratch("kept")?, scratch("block mask")?);
                prox::obs_score(recording, [v, free], &u, self.first, [&err, &candidate]);
                let (scope, keep) = (scope.into(), Keep { count: self.keep });
                prox::keep_largest(recording, gpu, &err, &candidate, scope, keep, &kept, &mask)?;
                prox::obs_sweep(recording, &sweep(Survivors::Given(&mask)));
            }
        }
        let after = self.first + self.width;
        if after < cols {
            let call = Gemm {
                b_col: after,
                out_col: after,
                alpha: -1.0,
                ..Gemm::new(&err, &u, Layout::NN, v).add()
            };
            dense::gemm(recording, gpu, &call);
        }
        Ok(())
    }
}
