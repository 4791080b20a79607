//! Twins of `shaders/prox`. The three `kth_*` twins work on bits, as the kernels do.

pub mod admm_step;
pub mod cg_begin;
pub mod cg_step;
pub mod cost_histogram;
pub mod fista_step;
pub mod greedy_remove;
pub mod group_cost;
pub mod kth_apply;
pub mod kth_histogram;
pub mod kth_pick;
pub mod obs_score;
pub mod obs_sweep;
pub mod permute_swap;
pub mod project_nm;
pub mod soft_threshold;
