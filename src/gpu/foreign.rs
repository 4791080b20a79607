//! A third way to play a recording: another implementation of WebGPU, outside this process. Tests hold the shaders
//! against it, and count what a run asks of a device; memory is the host's.

use super::{HostCall, Kernel};

/// Plays dispatches for a device of [`super::Gpu::foreign`].
pub trait Foreign: Send + Sync {
    /// Plays `groups` workgroups of `kernel` with the knobs, parameters and bindings of `call`, and leaves the outputs there.
    /// Fails with what the implementation says.
    fn dispatch(&self, kernel: &'static Kernel, call: &mut HostCall<'_>, groups: [u32; 3]) -> Result<(), String>;

    /// Is told of every upload: the buffer's label and the bytes.
    fn uploaded(&self, _label: &str, _bytes: usize) {}

    /// Whether weights should be laid out as drivers that run on the CPU like them, not as GPUs do.
    fn is_software(&self) -> bool {
        true
    }
}
