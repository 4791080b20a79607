//! Methods: which weights become zero and what the survivors become.
//!
//! A method sees a [`LayerProblem`] (weight, Gram matrices, target pattern) and returns a [`LayerSolution`]; it has no
//! idea what an attention block is and never imports `model`. Damping, dead inputs and scaling live in `problem.rs`,
//! for all methods. To add a method: one file here with its row, and its name in [`METHODS`]. Start reading at [`LayerProblem`].

mod admm;
mod allocate;
mod alps;
mod awp;
mod damping;
mod error;
mod fista;
mod inputs;
mod low_rank;
mod magnitude;
mod pattern;
mod permute;
mod problem;
mod propagate;
mod redundancy;
mod refit;
mod registry;
mod ria;
mod row_sums;
mod score;
mod score_rows;
mod sparsegpt;
pub mod surgeon;
mod wanda;

pub use admm::{ADMM, Admm, AdmmSettings};
pub use allocate::{Allocation, Candidate, Scores, allocate, range};
pub use alps::{ALPS, Alps};
pub use awp::{AWP, Awp};
pub use damping::{Damping, DampingRule};
pub use error::PruneError;
pub use fista::{FISTA, Fista, FistaSettings, WarmStart, lasso};
pub use inputs::{GramStatistics, InputStatistics, InputSums};
pub use low_rank::{AdamStep, LowRank, LowRankGradient};
pub use magnitude::{MAGNITUDE, Magnitude};
pub use pattern::{Pattern, Scope};
pub use permute::{Channels, Permutation, Permute};
pub use problem::{Errors, LayerProblem};
pub use propagate::{Needs, Propagate, Within};
pub use redundancy::redundancy;
pub use refit::refit;
pub use registry::{Defaults, Evidence, MethodOption, MethodOptions, MethodRow, Removes, Solver, Values};
pub use ria::{RIA, Ria};
pub use score::Score;
pub use score_rows::SCORES;
pub use sparsegpt::{SPARSEGPT, SparseGpt};
pub use surgeon::{KFAC_FISTA, SURGEON};
pub use wanda::{WANDA, Wanda};

use crate::gpu::Gpu;
use crate::tensor::Tensor;

/// What a method found, in the scaled coordinates of its problem.
#[derive(Clone)]
pub struct LayerSolution {
    /// Scaled weight `[rows, cols]`; zero off the support.
    pub weight: Tensor,
    /// 1 where a weight is kept, `[rows, cols]`.
    pub support: Tensor,
    /// [`Errors::objective`], undamped; NaN where the problem knows no Gram matrix.
    pub error: f64,
    /// [`Errors::dense`] of the warm start; likewise.
    pub start_error: f64,
    /// Outer rounds taken.
    pub rounds: usize,
    /// Last penalty that improved, relative to the mean scaled weight; 0 if none did.
    pub lambda: f64,
}

impl LayerSolution {
    /// What a method found without rounds of its own: its start is its result.
    fn in_one_go(gpu: &Gpu, problem: &LayerProblem<'_>, weight: Tensor, support: Tensor) -> Result<Self, PruneError> {
        let unknown = Errors {
            objective: f64::NAN,
            dense: f64::NAN,
        };
        let errors = match problem.knows_errors() {
            true => problem.errors(gpu, &weight)?,
            false => unknown,
        };
        Ok(LayerSolution {
            weight,
            support,
            error: errors.objective,
            start_error: errors.dense,
            rounds: 0,
            lambda: 0.0,
        })
    }
}

/// A pruning method for one layer problem.
pub trait Method: Sync {
    /// What it must know of the inputs.
    fn needs(&self) -> Needs {
        Needs::Gram
    }

    /// Matrices of the linear's size alive at once while it solves, the problem's own four included.
    fn workspace(&self) -> usize;

    /// Square matrices as large as the Gram alive beside it while it solves.
    fn squares(&self) -> usize {
        0
    }

    /// Rough arithmetic for a linear of `[rows, cols]`, in products with its Gram (2 rows cols² flops).
    fn products(&self, _shape: [usize; 2]) -> f64 {
        0.0
    }

    /// Finds a weight with the problem's pattern.
    fn solve(&self, gpu: &Gpu, problem: &LayerProblem<'_>) -> Result<LayerSolution, PruneError>;
}

/// All methods, the default first.
pub static METHODS: &[&MethodRow] = &[
    &ADMM,
    &ALPS,
    &FISTA,
    &SPARSEGPT,
    &AWP,
    &RIA,
    &WANDA,
    &MAGNITUDE,
    &SURGEON,
    &KFAC_FISTA,
];

/// The method of that name.
pub fn method(name: &str) -> Option<&'static MethodRow> {
    METHODS.iter().find(|row| row.name == name).copied()
}
