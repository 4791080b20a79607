//! secateur prunes large language models after training: a Hugging Face checkpoint in, a sparser one out.
//!
//! The map, and which way the arrows point:
//!
//! ```text
//! cli -> run -> { calib, prune, eval, report, checkpoint }
//! run, calib, eval -> model -> ops
//! prune -> linalg -> ops -> tensor -> gpu -> (wgpu) | reference
//! ops -> shaders/    checkpoint -> tensor    report, reference -> nothing but std
//! ```

pub mod gpu;
pub mod ops;
pub mod reference;
pub mod tensor;
