//! What is recorded, and what it is held against, kernel by kernel.

mod dense;
mod nn;
mod prox;
mod roof;
mod solve;

use super::case::Case;
use super::{BenchError, BenchKernel, Spec};
use crate::gpu::Gpu;

pub(super) use dense::{gemm_on, gram_on};
pub(super) use roof::{ROUNDS, copy, fma};

/// Data on the device for one measurement.
pub(super) fn build(gpu: &Gpu, spec: &Spec, seed: u64) -> Result<Case, BenchError> {
    match spec.kernel {
        BenchKernel::Gemm => dense::gemm(gpu, spec, seed),
        BenchKernel::GemmCoop => dense::gemm_coop(gpu, spec, seed),
        BenchKernel::GemmNaive => dense::gemm_naive(gpu, spec, seed),
        BenchKernel::Gram => dense::gram(gpu, spec, seed),
        BenchKernel::Matvec | BenchKernel::MatvecTwoFour => dense::matvec(gpu, spec, seed),
        BenchKernel::Cholesky => dense::cholesky(gpu, spec, seed),
        BenchKernel::FistaStep => prox::fista_step(gpu, spec, seed),
        BenchKernel::Admm => prox::admm(gpu, spec, seed),
        BenchKernel::TopK => prox::topk(gpu, spec, seed),
        BenchKernel::ProjectNm => prox::project_nm(gpu, spec, seed),
        BenchKernel::Attention => nn::attention(gpu, spec, seed),
        BenchKernel::Solve => return solve::solve(gpu, spec, seed),
        BenchKernel::Fma => roof::fma(gpu, spec.size[1], roof::ROUNDS),
        BenchKernel::Copy => roof::copy(gpu, spec.size[1]),
    }
    .map_err(BenchError::from)
}

/// Multiplications of the twin up to which all elements are compared.
const ALL: usize = 30_000_000;

/// Rows and columns of a product to compare: all, or a sample whose columns come in whole groups.
fn places([rows, cols, inner]: [usize; 3], group: usize) -> [Vec<usize>; 2] {
    use super::data::{sample, sample_groups};
    if rows * cols * inner.max(1) <= ALL {
        return [sample(rows, rows), sample(cols, cols)];
    }
    [sample(rows, 16), sample_groups(cols, 256, group)]
}
