//! Methods: which weights become zero and what the survivors become.
//!
//! A method sees a [`LayerProblem`] (weight, Gram matrices, target pattern) and returns a [`LayerSolution`]; it has no
//! idea what an attention block is and never imports `model`. Damping, dead inputs and scaling live in `problem.rs`,
//! for all methods. To add a method: one file here, one line in [`method`]. Start reading at [`LayerProblem`].

mod error;
mod fista;
mod magnitude;
mod pattern;
mod problem;
mod refit;
mod ria;
mod sparsegpt;
mod wanda;

pub use error::PruneError;
pub use fista::{Fista, FistaSettings, WarmStart, lasso};
pub use magnitude::Magnitude;
pub use pattern::{Pattern, Scope};
pub use problem::{GramStatistics, InputStatistics, LayerProblem};
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
    /// `‖V X* − W X‖²` per token, undamped.
    pub error: f64,
    /// The same of the warm start.
    pub start_error: f64,
    /// Outer rounds taken.
    pub rounds: usize,
    /// Last penalty that improved, relative to the mean scaled weight; 0 if none did.
    pub lambda: f64,
}

/// A pruning method for one layer problem.
pub trait Method: Sync {
    /// Name on the command line and in reports.
    fn name(&self) -> &'static str;

    /// Matrices of the linear's size alive at once while it solves, the problem's own four included.
    fn workspace(&self) -> usize;

    /// Finds a weight with the problem's pattern.
    fn solve(&self, gpu: &Gpu, problem: &LayerProblem<'_>) -> Result<LayerSolution, PruneError>;
}

/// Names of all methods, default first.
pub const METHODS: &[&str] = &["fista", "sparsegpt", "ria", "wanda", "magnitude"];

/// The method of that name with its published settings; FISTAPruner begins at the warm start, the others ignore it.
pub fn method(name: &str, warm_start: WarmStart) -> Option<Box<dyn Method>> {
    match name {
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
