//! Twins of `shaders/dense`.

pub mod add_row;
pub mod axpby;
pub mod diagonal;
pub mod gemm;
pub mod gemm_coop;
pub mod gemm_grouped;
pub mod gemv;
pub mod gemv_two_four;
pub mod gram;
pub mod mirror;
pub mod multiply;
pub mod permute;
pub mod points_gather;
pub mod points_scatter;
pub mod power_step;
pub mod row_reduce;
pub mod scale;
pub mod scatter_rows;
pub mod set_diagonal;
pub mod sum_parts;
pub mod transpose;
