//! Dense matrix ops: products, Grams, and the few elementwise and reduction helpers the solvers need.

mod add_row;
mod axpby;
mod diagonal;
mod gemm;
mod gemm_grouped;
mod gemv;
mod gemv_two_four;
mod gram;
mod mirror;
mod multiply;
mod permute;
mod points_gather;
mod points_scatter;
mod power_step;
mod row_reduce;
mod scale;
mod scatter_rows;
mod set_diagonal;
mod sum_parts;
mod transpose;

pub use add_row::add_row;
pub use axpby::axpby;
pub use diagonal::diagonal;
pub(crate) use gemm::fastest;
pub use gemm::{
    COOPERATIVE as GEMM_COOPERATIVE, DOUBLE as GEMM_DOUBLE, Gemm, Layout, REGISTER as GEMM_REGISTER,
    SUBGROUP as GEMM_SUBGROUP, TILED as GEMM_TILED, gemm, gemm_contest, gemm_with,
};
pub use gemm_grouped::{
    COOPERATIVE as GEMM_GROUPED_COOPERATIVE, DOUBLE as GEMM_GROUPED_DOUBLE, GROUPED, GemmGrouped,
    REGISTER as GEMM_GROUPED_REGISTER, SUBGROUP as GEMM_GROUPED_SUBGROUP, TILED as GEMM_GROUPED_TILED, gemm_grouped,
    gemm_grouped_with,
};
pub use gemv::gemv;
pub use gemv_two_four::{TwoFour, gemv_two_four};
pub use gram::{
    CHUNK, COOPERATIVE as GRAM_COOPERATIVE, DOUBLE as GRAM_DOUBLE, GramPart, REGISTER as GRAM_REGISTER,
    SUBGROUP as GRAM_SUBGROUP, TILED as GRAM_TILED, gram_chunk, gram_contest, gram_with,
};
pub use mirror::mirror;
pub use multiply::multiply;
pub use permute::permute;
pub use points_gather::points_gather;
pub use points_scatter::points_scatter;
pub use power_step::power_step;
pub use row_reduce::{RowReduce, row_reduce};
pub use scale::scale;
pub use scatter_rows::scatter_rows;
pub use set_diagonal::set_diagonal;
pub(crate) use sum_parts::KERNEL as SUM_PARTS;
pub use sum_parts::sum_parts;
pub use transpose::transpose;

use crate::gpu::Kernel;

/// Invocations per workgroup of elementwise kernels (`THREADS` in the shader).
pub(crate) const THREADS: usize = 256;
/// Elements per task of elementwise twins on the host.
pub(crate) const HOST_TASK: usize = 1 << 14;

/// Kernels of this room.
pub const KERNELS: &[&Kernel] = &[
    &gemm::TILED,
    &gemm::DOUBLE,
    &gemm::REGISTER,
    &gemm::SUBGROUP,
    &gemm::COOPERATIVE,
    &gemm_grouped::TILED,
    &gemm_grouped::DOUBLE,
    &gemm_grouped::REGISTER,
    &gemm_grouped::SUBGROUP,
    &gemm_grouped::COOPERATIVE,
    &gram::TILED,
    &gram::DOUBLE,
    &gram::REGISTER,
    &gram::SUBGROUP,
    &gram::COOPERATIVE,
    &sum_parts::KERNEL,
    &axpby::KERNEL,
    &multiply::KERNEL,
    &scale::KERNEL,
    &add_row::KERNEL,
    &scatter_rows::KERNEL,
    &diagonal::KERNEL,
    &set_diagonal::KERNEL,
    &mirror::KERNEL,
    &transpose::KERNEL,
    &permute::KERNEL,
    &points_gather::KERNEL,
    &points_scatter::KERNEL,
    &gemv::KERNEL,
    &gemv_two_four::KERNEL,
    &power_step::KERNEL,
    &row_reduce::KERNEL,
];
