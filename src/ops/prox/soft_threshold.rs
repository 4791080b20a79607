//! `prox/soft_threshold`: the proximal map of the L1 norm.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::ops::dense::{HOST_TASK, THREADS};
use crate::reference::prox::soft_threshold as twin;
use crate::tensor::Tensor;

params! {
    /// Number of elements and threshold.
    struct Params {
        /// Number of elements.
        count: u32,
        /// What magnitudes lose.
        threshold: f32,
        /// Padding.
        pad0: u32,
        /// Padding.
        pad1: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "prox/soft_threshold",
    source: include_str!("../../../shaders/prox/soft_threshold.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 1,
    writes: 1,
    host,
};

/// Records `out = sign(x) max(|x| - threshold, 0)`, elementwise. Panics if the shapes differ.
pub fn soft_threshold(recording: &mut Recording, threshold: f32, x: &Tensor, out: &Tensor) {
    assert_eq!(x.shape(), out.shape(), "soft_threshold: shapes");
    let params = Params {
        count: x.len() as u32,
        threshold,
        ..Params::default()
    };
    let work = Workload::flat(x.len(), THREADS);
    recording.dispatch(&KERNEL, &[], &params, &[x.slice(), out.slice()], work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let ([x], [out]) = call.split::<1, 1>();
    let count = p.count as usize;
    let tasks = f32s(&x[..count]).par_chunks(HOST_TASK);
    tasks
        .zip(f32s_mut(&mut out[..count]).par_chunks_mut(HOST_TASK))
        .for_each(|(x, out)| twin::soft_threshold(p.threshold, x, out));
}
