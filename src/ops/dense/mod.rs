//! Dense matrix ops: products, Grams, and the few elementwise and reduction helpers the solvers need.

mod gemm;
mod gram;

pub use gemm::{Gemm, Layout, REGISTER as GEMM_REGISTER, TILED as GEMM_TILED, gemm, gemm_with};
pub use gram::{CHUNK, GramPart, REGISTER as GRAM_REGISTER, TILED as GRAM_TILED, gram_chunk, gram_with};

use crate::gpu::Kernel;

/// Kernels of this room.
pub const KERNELS: &[&Kernel] = &[&gemm::TILED, &gemm::REGISTER, &gram::TILED, &gram::REGISTER];
