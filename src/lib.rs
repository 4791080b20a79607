//! secateur prunes large language models after training: a Hugging Face checkpoint in, a sparser one out.
//!
//! ```no_run
//! use secateur::{Pruner, Target};
//!
//! let report = Pruner::open("model")?
//!     .target(Target::Sparsity(0.5))
//!     .calibration("text.jsonl")
//!     .run("pruned")?;
//! # Ok::<(), secateur::run::RunError>(())
//! ```
//!
//! [`Pruner`] and [`Evaluator`] have the defaults of the command line. [`run`] has every setting. The feature `cli`, on by
//! default, is the command line itself and reports as text; a program can do without it.
//!
//! The map: what each room may use. A test (`tests/common/arrows.rs`) reads it and the code.
//!
//! ```text
//! cli            -> bench run eval calib model prune ops report checkpoint tensor gpu
//! pruner         -> run model prune calib report checkpoint gpu
//! evaluator      -> run eval model report checkpoint gpu
//! bench          -> run prune linalg ops report reference tensor gpu
//! run            -> eval calib model prune linalg ops report checkpoint tensor gpu
//! eval           -> calib model
//! model          -> checkpoint ops tensor gpu
//! prune          -> linalg ops reference tensor gpu
//! linalg         -> ops tensor gpu
//! ops            -> reference tensor gpu
//! checkpoint     -> tensor
//! tensor         -> gpu
//!
//! run/compare    -> run/layerwise run/global run/predict run/folder run/samples run/report run/methods run/options run/progress run/error
//! run/structured -> run/global run/curvature run/predict run/options run/progress run/error
//! run/layerwise  -> run/curvature run/predict run/folder run/samples run/report run/order run/options run/progress run/error
//! run/global     -> run/curvature run/predict run/folder run/samples run/report run/methods run/order run/options run/progress run/error
//! run/predict    -> run/curvature run/order run/options run/error
//! run/curvature  -> run/error
//! run/samples    -> run/predict run/options run/error
//! run/report     -> run/folder run/options run/error
//! run/folder     -> run/error
//! run/methods    -> run/error
//! run/order      -> run/options run/error
//! run/options    -> run/error
//! ```
//!
//! `gpu`, `calib`, `report` and `reference` use no other room. What `run` is made of stands in its own first lines.
//!
//! Start reading at [`run::prune`] for the walk, at [`prune::LayerProblem`] for the mathematics, at [`gpu::Gpu`] for the
//! device.

pub mod bench;
pub mod calib;
pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
pub mod eval;
mod evaluator;
pub mod gpu;
pub mod linalg;
pub mod model;
pub mod ops;
pub mod prune;
mod pruner;
pub mod reference;
pub mod report;
pub mod run;
pub mod tensor;

pub use evaluator::Evaluator;
pub use pruner::{Pruner, Target};
