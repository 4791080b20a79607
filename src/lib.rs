//! secateur prunes large language models after training: a Hugging Face checkpoint in, a sparser one out.
//!
//! The map, and which way the arrows point:
//!
//! ```text
//! cli -> run -> { calib, prune, eval, report, checkpoint }
//! cli -> bench -> { run, prune, linalg, ops, report }
//! run, calib, eval -> model -> ops
//! prune -> linalg -> ops -> tensor -> gpu -> (wgpu) | reference
//! ops -> shaders/    checkpoint -> tensor    report, reference -> nothing but std
//! ```
//!
//! Start reading at [`run::prune`] for the walk, at [`prune::LayerProblem`] for the mathematics, at [`gpu::Gpu`] for the
//! device.

pub mod bench;
pub mod calib;
pub mod checkpoint;
pub mod cli;
pub mod eval;
pub mod gpu;
pub mod linalg;
pub mod model;
pub mod ops;
pub mod prune;
pub mod reference;
pub mod report;
pub mod run;
pub mod tensor;
