//! Proximal and projection ops: the shrinkage of FISTA, N:M and top-k projections, the masked conjugate gradient, and the
//! sweep of optimal brain surgery.
//!
//! Not here: who calls them and when (`crate::prune`). Start reading at [`fista_step()`] and [`keep_largest()`].

mod admm_step;
mod cg_begin;
mod cg_step;
mod cost_histogram;
mod fista_step;
mod greedy_remove;
mod group_cost;
mod keep_largest;
mod kth_apply;
mod kth_histogram;
mod kth_pick;
mod obs_score;
mod obs_sweep;
mod permute_swap;
mod project_nm;
mod soft_threshold;

pub use admm_step::{Penalty, admm_step};
pub use cg_begin::cg_begin;
pub use cg_step::cg_step;
pub use cost_histogram::cost_histogram;
pub use fista_step::{
    COOPERATIVE as FISTA_COOPERATIVE, DOUBLE as FISTA_DOUBLE, FistaStep, REGISTER as FISTA_REGISTER,
    SUBGROUP as FISTA_SUBGROUP, TILED as FISTA_TILED, fista_step, fista_step_with,
};
pub use greedy_remove::greedy_remove;
pub use group_cost::group_cost;
pub use keep_largest::{Keep, Scope, keep_largest};
pub use kth_apply::kth_apply;
pub use kth_histogram::{Digit, Segments, kth_histogram};
pub use kth_pick::kth_pick;
pub use obs_score::obs_score;
pub use obs_sweep::{OBS_COLS, ObsSweep, Survivors, obs_sweep};
pub use permute_swap::{PermuteSwap, permute_swap};
pub use project_nm::project_nm;
pub use soft_threshold::soft_threshold;

use crate::gpu::Kernel;

/// Kernels of this room.
pub const KERNELS: &[&Kernel] = &[
    &soft_threshold::KERNEL,
    &fista_step::TILED,
    &fista_step::DOUBLE,
    &fista_step::REGISTER,
    &fista_step::SUBGROUP,
    &fista_step::COOPERATIVE,
    &project_nm::KERNEL,
    &permute_swap::KERNEL,
    &kth_histogram::KERNEL,
    &kth_pick::KERNEL,
    &kth_apply::KERNEL,
    &admm_step::KERNEL,
    &cost_histogram::KERNEL,
    &group_cost::KERNEL,
    &cg_begin::KERNEL,
    &cg_step::KERNEL,
    &greedy_remove::KERNEL,
    &obs_score::KERNEL,
    &obs_sweep::KERNEL,
];
