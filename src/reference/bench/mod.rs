//! Twins of `shaders/bench`.

pub mod copy;
pub mod fma;
pub mod gemm_naive;
