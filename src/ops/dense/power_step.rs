//! `dense/power_step`: one step of the power iteration.

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::dense::power_step as twin;
use crate::tensor::Tensor;

params! {
    /// Size.
    struct Params {
        /// Length of the vectors.
        size: u32,
        /// Padding.
        pad0: u32,
        /// Padding.
        pad1: u32,
        /// Padding.
        pad2: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "dense/power_step",
    source: include_str!("../../../shaders/dense/power_step.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 1,
    writes: 2,
    host,
};

/// Records, for `y = H x` with `|x| = 1`: state `[1, 4]` = (x·y, |y|, |y - (x·y) x|, 0), then `x = y / |y|` unless y is
/// zero. The first number is the Rayleigh quotient, the third bounds its distance from an eigenvalue of a symmetric H.
pub fn power_step(recording: &mut Recording, y: &Tensor, x: &Tensor, state: &Tensor) {
    assert_eq!(x.len(), y.len(), "power_step: lengths");
    assert_eq!(state.len(), 4, "power_step: state");
    let params = Params {
        size: x.len() as u32,
        ..Params::default()
    };
    let work = Workload::rows(1, 8.0 * x.len() as f64);
    recording.dispatch(&KERNEL, &[], &params, &[y.slice(), x.slice(), state.slice()], work);
}

fn host(call: &mut HostCall<'_>) {
    let size = call.params::<Params>().size as usize;
    let ([y], [x, state]) = call.split::<1, 2>();
    let numbers = twin::power_step(&f32s(y)[..size], &mut f32s_mut(x)[..size]);
    f32s_mut(state)[..4].copy_from_slice(&numbers);
}
