//! Ops of shaders/nn.
use crate::gpu::Kernel;
/// Kernels of this room.
pub const KERNELS: &[&Kernel] = &[];
