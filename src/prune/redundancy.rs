//! How redundant a linear is by LSA (Layer-wise Sparsity Allocation, ICLR 2026, Algorithm 1): the least output error of
//! taking half of the inputs from every output, found greedily.
//!
//! In blocks of 128 columns from left to right, half of each: one by one the weight of a row goes that costs least beside
//! all that went before. Nothing is pruned by it, and what remains is not updated.

use super::sparsegpt::block_columns;
use super::{LayerProblem, PruneError};
use crate::gpu::{Gpu, Recording};
use crate::ops::dense::{self, Gemm, Layout};
use crate::ops::prox;
use crate::tensor::Tensor;

/// `‖R X‖²` per token, R what is taken: half of the weights of each row in each block of columns.
pub fn redundancy(gpu: &Gpu, problem: &LayerProblem<'_>) -> Result<f64, PruneError> {
    let [rows, cols] = problem.weight.shape();
    let removed = problem.scratch(gpu, "removed")?;
    let mut recording = Recording::new();
    let before = Tensor::zeros(gpu, &mut recording, "removed times Gram", rows, cols)?;
    gpu.submit(recording)?;
    let width = block_columns(gpu, cols).max(1);
    for first in (0..cols).step_by(width) {
        let (width, after) = (width.min(cols - first), (first + width).min(cols));
        let mut recording = Recording::new();
        let gram = problem.inputs.gram();
        let block = gram.copied_rows(&mut recording, gpu, "rows of the Gram", [first, width])?;
        let inputs = [&block, &problem.weight, &before];
        prox::greedy_remove(&mut recording, inputs, first, width / 2, &removed);
        if after < cols {
            let call = Gemm {
                a_col: first,
                b_col: after,
                out_col: after,
                ..Gemm::new(&removed, &block, Layout::NN, &before).add()
            };
            dense::gemm(&mut recording, gpu, &call);
        }
        // Now, because the scratch of a block lives as long as its recording.
        gpu.submit(recording)?;
    }
    drop(before);
    let mut recording = Recording::new();
    let pending = problem.record_distance(&mut recording, gpu, &removed)?;
    let errors = pending.errors(&gpu.submit(recording)?)?;
    Ok(errors.dense)
}
