//! Ops of shaders/prox.
use crate::gpu::Kernel;
/// Kernels of this room.
pub const KERNELS: &[&Kernel] = &[];
