//! The test binary: one module per rung of the ladder.

mod activations;
mod bench;
mod calib;
mod checkpoint;
mod cli;
mod common;
mod device;
mod golden;
mod gradients;
mod kernels;
mod laws;
mod methods;
mod product;
