//! One file per kernel: it fills parameters, bindings and a workgroup count, and names the host twin.
//!
//! Nothing here computes and nothing submits; an op appends to a [`crate::gpu::Recording`]. [`kernels`] is the table
//! that tests and the pipeline cache walk. Start reading at [`dense::gemm()`].

pub mod bench;
mod contest;
pub mod dense;
pub mod factor;
pub mod nn;
pub mod prox;
mod tile;

use crate::gpu::Kernel;

pub use tile::{DOUBLES, Precision, TILES, Tile, Variant};

/// Every kernel of the house.
pub fn kernels() -> Vec<&'static Kernel> {
    [
        dense::KERNELS,
        factor::KERNELS,
        prox::KERNELS,
        nn::KERNELS,
        bench::KERNELS,
    ]
    .concat()
}
