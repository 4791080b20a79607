//! `nn/activation_backward`: gradient of the activation of an MLP without a gate.

use rayon::prelude::*;

use super::activation::{ACT, Activation, PART};
use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::nn::activation_backward as twin;
use crate::tensor::{DType, Tensor};

params! {
    /// Size.
    struct Params {
        /// Elements of x and dy.
        elements: u32,
        /// Padding.
        pad0: u32,
        /// Padding.
        pad1: u32,
        /// Padding.
        pad2: u32,
    }
}

/// The kernel's row.
pub static ACTIVATION_BACKWARD: Kernel = Kernel {
    stem: "nn/activation_backward",
    source: include_str!("../../../shaders/nn/activation_backward.wgsl"),
    knobs: &[ACT],
    params: Params::FIELDS,
    reads: 1,
    writes: 1,
    host,
};

/// Records `dy = dy act'(x)` in place: the gradient of the output becomes that of the input `x`. Both f32 of one shape,
/// else it panics.
pub fn activation_backward(recording: &mut Recording, act: Activation, x: &Tensor, dy: &Tensor) {
    assert_eq!(x.shape(), dy.shape(), "activation_backward: shapes of x and dy");
    let f32s = x.dtype() == DType::F32 && dy.dtype() == DType::F32;
    assert!(f32s, "activation_backward: x and dy are f32");
    let params = Params {
        elements: x.len() as u32,
        ..Params::default()
    };
    let work = Workload::flat(x.len(), 64);
    let bindings = [x.slice(), dy.slice()];
    recording.dispatch(&ACTIVATION_BACKWARD, &[act as u32], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let code = call.knobs[0];
    let elements = call.params::<Params>().elements as usize;
    let ([x], [dy]) = call.split::<1, 1>();
    let dy = f32s_mut(&mut dy[..elements]).par_chunks_mut(PART);
    dy.zip(f32s(&x[..elements]).par_chunks(PART))
        .for_each(|(dy, x)| twin::activation_backward_fast(code, x, dy));
}
