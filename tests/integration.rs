//! The test binary: one module per rung of the ladder.

mod common;
mod kernels;
