//! `nn/gate`: the gated activation of an MLP.

use rayon::prelude::*;

use super::activation::{ACT, Activation, PART};
use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::nn::gate as twin;
use crate::tensor::{DType, Tensor};

params! {
    /// Size.
    struct Params {
        /// Elements of up and gate.
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
pub static GATE: Kernel = Kernel {
    stem: "nn/gate",
    source: include_str!("../../../shaders/nn/gate.wgsl"),
    knobs: &[ACT],
    params: Params::FIELDS,
    reads: 1,
    writes: 1,
    host,
};

/// Records `gate = act(gate) * up` in place. Both f32 of one shape, else it panics.
pub fn gate(recording: &mut Recording, act: Activation, up: &Tensor, gate: &Tensor) {
    assert_eq!(up.shape(), gate.shape(), "gate: shapes of up and gate");
    let f32s = up.dtype() == DType::F32 && gate.dtype() == DType::F32;
    assert!(f32s, "gate: up and gate are f32");
    let params = Params {
        elements: gate.len() as u32,
        ..Params::default()
    };
    let bindings = [up.slice(), gate.slice()];
    let work = Workload::flat(gate.len(), 64);
    recording.dispatch(&GATE, &[act as u32], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let code = call.knobs[0];
    let elements = call.params::<Params>().elements as usize;
    let ([up], [gate]) = call.split::<1, 1>();
    let gate = f32s_mut(&mut gate[..elements]).par_chunks_mut(PART);
    gate.zip(f32s(&up[..elements]).par_chunks(PART))
        .for_each(|(gate, up)| twin::gate_fast(code, up, gate));
}
