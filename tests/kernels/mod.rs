//! T1: every op against its f64 twin, on the host executor and on an adapter, over awkward sizes.

pub(crate) mod activation;
pub(crate) mod activation_backward;
mod add_row;
mod admm_step;
mod attention;
mod attention_backward;
mod axpby;
mod cg_begin;
mod cg_step;
mod cholesky_block;
mod copy;
mod cost_histogram;
mod cross_entropy;
mod cross_entropy_backward;
mod diagonal;
mod divergence;
mod embed;
mod fista_step;
mod fma;
mod gate;
mod gate_backward;
mod gemm;
mod gemm_coop;
mod gemm_grouped;
mod gemm_naive;
mod gemv;
mod gemv_two_four;
mod gram;
mod greedy_remove;
mod group_cost;
mod keep_largest;
mod kron_gather;
mod kth_apply;
mod kth_histogram;
mod kth_pick;
mod layer_norm;
mod layer_norm_backward;
mod mirror;
mod multiply;
mod obs_score;
mod obs_sweep;
mod panel_read;
mod panel_write;
mod permute;
mod permute_swap;
mod points_gather;
mod points_scatter;
mod power_step;
mod project_nm;
mod rms_norm;
mod rms_norm_backward;
mod rope;
mod row_reduce;
mod scale;
mod scatter_rows;
mod set_diagonal;
mod soft_cap;
mod soft_cap_backward;
mod soft_threshold;
mod sum_parts;
mod transpose;

/// Shapes for elementwise kernels of 256 invocations: one, around a workgroup, a prime, a long thin one.
const ELEMENTWISE: [[usize; 2]; 6] = [[1, 1], [1, 255], [16, 16], [257, 1], [7, 131], [2, 1500]];

/// Shapes for kernels with one workgroup of 64 per row.
const ROWWISE: [[usize; 2]; 6] = [[1, 1], [3, 63], [2, 64], [5, 65], [131, 7], [2, 4099]];
