//! Methods: which weights become zero and what the survivors become.
//!
//! A method sees a [`LayerProblem`] (weight, Gram matrices, target pattern) and returns a [`LayerSolution`]; it has no
//! idea what an attention block is and never imports `model`. Damping, dead inputs and scaling live in `problem.rs`,
//! for all methods. To add a method: one file here, one line in [`method`]. Start reading at [`LayerProblem`].

mod admm;
mod allocate;
mod alps;
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
mod ria;
mod row_sums;
mod sparsegpt;
pub mod surgeon;
mod wanda;

pub use admm::{Admm, AdmmSettings};
pub use allocate::{Allocation, Candidate, Scores, allocate, range};
pub use alps::Alps;
pub use damping::{Damping, DampingRule};
pub use error::PruneError;
pub use fista::{Fista, FistaSettings, WarmStart, lasso};
pub use inputs::{GramStatistics, InputStatistics, InputSums};
pub use low_rank::{AdamStep, LowRank, LowRankGradient};
pub use magnitude::Magnitude;
pub use pattern::{Pattern, Scope};
pub use permute::{Channels, Permutation, Permute};
pub use problem::{Errors, LayerProblem};
pub use propagate::{Needs, Propagate, Within};
pub use redundancy::redundancy;
pub use refit::refit;
pub use ria::Ria;
pub use sparsegpt::SparseGpt;
pub use wanda::Wanda;

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
    /// Name on the command line and in reports.
    fn name(&self) -> &'static str;

    /// What the published method damps.
    fn damping(&self) -> DampingRule {
        DampingRule::Own
    }

    /// Which inputs the published method sees.
    fn propagate(&self) -> Propagate {
        Propagate::Pruned
    }

    /// Which inputs the published method sees inside a decoder layer.
    fn within(&self) -> Within {
        Within::Layer
    }

    /// What it must know of the inputs.
    fn needs(&self) -> Needs {
        Needs::Gram
    }

    /// Share of the error of earlier linears of a layer that it corrects, where the inputs it sees have one.
    fn correction(&self) -> f64 {
        1.0
    }

    /// Where the published method holds a sparsity.
    fn scope(&self) -> Scope {
        Scope::Matrix
    }

    /// Conjugate-gradient steps of the refit after it, unless told otherwise.
    fn refit(&self) -> usize {
        0
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

/// Names of all methods, default first.
pub const METHODS: &[&str] = &["admm", "alps", "fista", "sparsegpt", "ria", "wanda", "magnitude"];

/// The method of that name with its published settings; FISTAPruner begins at the warm start, the others ignore it.
pub fn method(name: &str, warm_start: WarmStart) -> Option<Box<dyn Method>> {
    match name {
        "admm" => Some(Box::new(Admm::default())),
        "alps" => Some(Box::new(Alps)),
        "fista" => Some(Box::new(Fista {
            settings: FistaSettings {
                warm_start,
                ..Default::default()
            },
        })),
        "sparsegpt" => Some(Box::new(SparseGpt)),
        "ria" => Some(Box::new(Ria)),
        "wanda" => Some(Box::new(Wanda)),
        "magnitude" => Some(Box::new(Magnitude)),
        _ => None,
    }
}
