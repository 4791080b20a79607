//! `nn/silu_gate`: the gated activation of Llama's MLP.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Work, f32s, f32s_mut, params};
use crate::reference::nn::silu_gate as twin;
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
pub static SILU_GATE: Kernel = Kernel {
    stem: "nn/silu_gate",
    source: include_str!("../../../shaders/nn/silu_gate.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 1,
    writes: 1,
    host,
};

/// Records `gate = silu(gate) * up` in place, `silu(x) = x / (1 + exp(-x))`. Both f32 of one shape, else it panics.
pub fn silu_gate(recording: &mut Recording, up: &Tensor, gate: &Tensor) {
    assert_eq!(up.shape(), gate.shape(), "silu_gate: shapes of up and gate");
    assert!(
        up.dtype() == DType::F32 && gate.dtype() == DType::F32,
        "silu_gate: up and gate are f32"
    );
    let params = Params {
        elements: gate.len() as u32,
        ..Params::default()
    };
    let bindings = [up.slice(), gate.slice()];
    recording.dispatch(&SILU_GATE, &[], &params, &bindings, Work::flat(gate.len(), 64));
}

fn host(call: &mut HostCall<'_>) {
    /// Elements per task.
    const PART: usize = 1 << 14;
    let p: Params = call.params();
    let ([up], [gate]) = call.split::<1, 1>();
    let elements = p.elements as usize;
    let gate = f32s_mut(&mut gate[..elements]).par_chunks_mut(PART);
    gate.zip(f32s(&up[..elements]).par_chunks(PART))
        .for_each(|(gate, up)| twin::silu_gate_fast(up, gate));
}
