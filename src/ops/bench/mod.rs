//! What `secateur bench` measures other kernels against: the roofs of arithmetic and memory, and a product without art.
//!
//! Nothing else calls them.

mod copy;
mod fma;
mod gemm_naive;

pub use copy::copy;
pub use fma::{ROUND_FLOPS, fma};
pub use gemm_naive::gemm_naive;

use crate::gpu::Kernel;

/// Kernels of this room.
pub const KERNELS: &[&Kernel] = &[&fma::KERNEL, &copy::KERNEL, &gemm_naive::KERNEL];
