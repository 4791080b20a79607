//! `nn/gate_backward`: gradient of the gated activation of an MLP.

use rayon::prelude::*;

use super::activation::{ACT, Activation, PART};
use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::nn::gate_backward as twin;
use crate::tensor::{DType, Tensor};

params! {
    /// Size.
    struct Params {
        /// Elements of each.
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
pub static GATE_BACKWARD: Kernel = Kernel {
    stem: "nn/gate_backward",
    source: include_str!("../../../shaders/nn/gate_backward.wgsl"),
    knobs: &[ACT],
    params: Params::FIELDS,
    reads: 1,
    writes: 2,
    host,
};

/// Records, for `hidden = act(gate) up` and the gradient `dhidden`: `gate`, as it was before its activation, and `up` become
/// their own gradients in place. All f32 of one shape, else it panics.
pub fn gate_backward(recording: &mut Recording, act: Activation, dhidden: &Tensor, gate: &Tensor, up: &Tensor) {
    assert_eq!(gate.shape(), dhidden.shape(), "gate_backward: shape of the gate");
    assert_eq!(up.shape(), dhidden.shape(), "gate_backward: shape of up");
    let f32s = [dhidden, gate, up].iter().all(|t| t.dtype() == DType::F32);
    assert!(f32s, "gate_backward: dhidden, gate and up are f32");
    let params = Params {
        elements: gate.len() as u32,
        ..Params::default()
    };
    let bindings = [dhidden.slice(), gate.slice(), up.slice()];
    let work = Workload::flat(gate.len(), 64);
    recording.dispatch(&GATE_BACKWARD, &[act as u32], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let code = call.knobs[0];
    let elements = call.params::<Params>().elements as usize;
    let ([dhidden], [gate, up]) = call.split::<1, 2>();
    let gate = f32s_mut(&mut gate[..elements]).par_chunks_mut(PART);
    let up = f32s_mut(&mut up[..elements]).par_chunks_mut(PART);
    gate.zip(up)
        .zip(f32s(&dhidden[..elements]).par_chunks(PART))
        .for_each(|((gate, up), dhidden)| twin::gate_backward_fast(code, dhidden, gate, up));
}
