//! `nn/activation`: the activation of an MLP without a gate.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Knob, Recording, Workload, f32s_mut, params};
use crate::reference::nn::activation as twin;
use crate::tensor::{DType, Tensor};

/// The function of a multilayer perceptron; the numbers are the shaders' `ACT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    Silu = 0,
    /// `x Φ(x)`, Φ the normal distribution function: Hugging Face's `gelu`.
    GeluErf = 1,
    /// `x / 2 (1 + tanh(sqrt(2 / π) (x + 0.044715 x³)))`: Hugging Face's `gelu_new` and `gelu_pytorch_tanh`.
    GeluTanh = 2,
    /// `max(x, 0)`.
    Relu = 3,
    /// `x / (1 + exp(-1.702 x))`.
    QuickGelu = 4,
}

impl Activation {
    /// Every function, in the order of `ACT`.
    pub const ALL: [Activation; 5] = [
        Activation::Silu,
        Activation::GeluErf,
        Activation::GeluTanh,
        Activation::Relu,
        Activation::QuickGelu,
    ];
}

/// The knob that chooses the function.
pub(super) const ACT: Knob = Knob {
    name: "ACT",
    values: &[0, 1, 2, 3, 4],
};

/// Elements per task on the host.
pub(super) const PART: usize = 1 << 14;

params! {
    /// Size.
    struct Params {
        /// Elements of x.
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
pub static ACTIVATION: Kernel = Kernel {
    stem: "nn/activation",
    source: include_str!("../../../shaders/nn/activation.wgsl"),
    knobs: &[ACT],
    params: Params::FIELDS,
    reads: 0,
    writes: 1,
    host,
};

/// Records `x = act(x)` in place. Panics unless `x` is f32.
pub fn activation(recording: &mut Recording, act: Activation, x: &Tensor) {
    assert!(x.dtype() == DType::F32, "activation: x is f32");
    let params = Params {
        elements: x.len() as u32,
        ..Params::default()
    };
    let work = Workload::flat(x.len(), 64);
    recording.dispatch(&ACTIVATION, &[act as u32], &params, &[x.slice()], work);
}

fn host(call: &mut HostCall<'_>) {
    let code = call.knobs[0];
    let elements = call.params::<Params>().elements as usize;
    let ([], [x]) = call.split::<0, 1>();
    let parts = f32s_mut(&mut x[..elements]).par_chunks_mut(PART);
    parts.for_each(|x| twin::activation_fast(code, x));
}
