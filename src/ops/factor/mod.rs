//! Pieces of blocked factorisations: the small dense block, rows of a symmetric matrix kept as one triangle, and what
//! is factorised of a Kronecker product. The
//! products between them are `dense::gemm` and `dense::gram`; `crate::linalg::sweep` chains them.

mod cholesky_block;
mod kron_gather;
mod panel_read;
mod panel_write;

pub use cholesky_block::{BLOCK, CholeskyBlock, cholesky_block};
pub use kron_gather::{KronGather, kron_gather};
pub use panel_read::panel_read;
pub use panel_write::panel_write;

use crate::gpu::Kernel;

/// Kernels of this room.
pub const KERNELS: &[&Kernel] = &[
    &cholesky_block::KERNEL,
    &kron_gather::KERNEL,
    &panel_read::KERNEL,
    &panel_write::KERNEL,
];
