//! `nn/soft_cap`: a smooth bound of logits.

use rayon::prelude::*;

use super::activation::PART;
use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s_mut, params};
use crate::reference::nn::soft_cap as twin;
use crate::tensor::{DType, Tensor};

params! {
    /// Size and bound.
    struct Params {
        /// Elements of x.
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
pub static SOFT_CAP: Kernel = Kernel {
    stem: "nn/soft_cap",
    source: include_str!("../../../shaders/nn/soft_cap.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 0,
    writes: 1,
    host,
};

/// Records `x = cap tanh(x / cap)` in place: Gemma 2's final logits. Panics unless `x` is f32 and `cap` positive.
pub fn soft_cap(recording: &mut Recording, cap: f32, x: &Tensor) {
    assert!(x.dtype() == DType::F32, "soft_cap: x is f32");
    assert!(cap > 0.0 && cap.is_finite(), "soft_cap: a cap of {cap}");
    let params = Params {
        elements: x.len() as u32,
        cap,
        ..Params::default()
    };
    let work = Workload::flat(x.len(), 64);
    recording.dispatch(&SOFT_CAP, &[], &params, &[x.slice()], work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let ([], [x]) = call.split::<0, 1>();
    let parts = f32s_mut(&mut x[..p.elements as usize]).par_chunks_mut(PART);
    parts.for_each(|x| twin::soft_cap_fast(p.cap, x));
}
