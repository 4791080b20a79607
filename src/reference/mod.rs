//! The plain twin of every kernel, as loops on slices; imports nothing of ours, so a shared mistake is unlikely.
//!
//! Twins are generic over `f32` and `f64`: in f64 they are the tests' oracle, in f32 the host executor plays them.
//! Where the plain loops would hold a run up, a twin has a `_fast` form in f32 as well: GEMM-shaped ones on a well-kept
//! GEMM crate, all on all cores.

pub mod bench;
pub mod dense;
pub mod factor;
pub mod nn;
pub mod prox;
