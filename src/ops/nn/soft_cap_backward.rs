//! `nn/soft_cap_backward`: gradient of a smooth bound of logits.

use rayon::prelude::*;

use super::activation::PART;
use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::nn::soft_cap_backward as twin;
use crate::tensor::{DType, Tensor};

params! {
    /// Size and bound.
    struct Params {
        /// Elements of x and dy.
        elements: u32,
        /// The bound.
        cap: f32,
        /// Padding.
        pad0: u32,
        /// Padding.
        pad1: u32,
    }
}

/// The kernel's row.
pub static SOFT_CAP_BACKWARD: Kernel = Kernel {
    stem: "nn/soft_cap_backward",
    source: include_str!("../../../shaders/nn/soft_cap_backward.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 1,
    writes: 1,
    host,
};

/// Records `dy = dy (1 - tanh²(x / cap))` in place: the gradient of what was bounded becomes that of `x`, as it was before.
/// Both f32 of one shape, and `cap` positive, else it panics.
pub fn soft_cap_backward(recording: &mut Recording, cap: f32, x: &Tensor, dy: &Tensor) {
    assert_eq!(x.shape(), dy.shape(), "soft_cap_backward: shapes of x and dy");
    let f32s = x.dtype() == DType::F32 && dy.dtype() == DType::F32;
    assert!(f32s, "soft_cap_backward: x and dy are f32");
    assert!(cap > 0.0 && cap.is_finite(), "soft_cap_backward: a cap of {cap}");
    let params = Params {
        elements: x.len() as u32,
        cap,
        ..Params::default()
    };
    let work = Workload::flat(x.len(), 64);
    let bindings = [x.slice(), dy.slice()];
    recording.dispatch(&SOFT_CAP_BACKWARD, &[], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let elements = p.elements as usize;
    let ([x], [dy]) = call.split::<1, 1>();
    let dy = f32s_mut(&mut dy[..elements]).par_chunks_mut(PART);
    dy.zip(f32s(&x[..elements]).par_chunks(PART))
        .for_each(|(dy, x)| twin::soft_cap_backward_fast(p.cap, x, dy));
}
