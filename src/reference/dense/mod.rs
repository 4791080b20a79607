//! Twins of `shaders/dense`.

pub mod gemm;
pub mod gram;
