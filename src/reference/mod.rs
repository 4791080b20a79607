//! The plain twin of every kernel, as loops on slices; imports nothing of ours, so a shared mistake is unlikely.
//!
//! Twins are generic over `f32` and `f64`: in f64 they are the tests' oracle, in f32 the host executor plays them.
//! Only where a twin is GEMM-shaped has it a `_fast` form in f32, on a well-kept GEMM crate and all cores.

pub mod bench;
pub mod dense;
pub mod factor;
pub mod nn;
pub mod prox;
