//! `dense/axpby`: sum of two scaled arrays.

use rayon::prelude::*;

use super::{HOST_TASK, THREADS};
use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::dense::axpby as twin;
use crate::tensor::Tensor;

params! {
    /// Number of elements and factors.
    struct Params {
        /// Number of elements.
        count: u32,
        /// Factor of x.
        alpha: f32,
        /// Factor of the old y; 0 does not read it.
        beta: f32,
        /// Padding.
        pad0: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "dense/axpby",
    source: include_str!("../../../shaders/dense/axpby.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 1,
    writes: 1,
    host,
};

/// Records `y = alpha x + beta y`, elementwise; beta 0 does not read the old y. Panics if the shapes differ.
pub fn axpby(recording: &mut Recording, alpha: f32, x: &Tensor, beta: f32, y: &Tensor) {
    assert_eq!(x.shape(), y.shape(), "axpby: shapes");
    let params = Params {
        count: x.len() as u32,
        alpha,
        beta,
        pad0: 0,
    };
    let work = Workload::flat(x.len(), THREADS);
    recording.dispatch(&KERNEL, &[], &params, &[x.slice(), y.slice()], work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let ([x], [y]) = call.split::<1, 1>();
    let count = p.count as usize;
    let tasks = f32s(&x[..count]).par_chunks(HOST_TASK);
    tasks
        .zip(f32s_mut(&mut y[..count]).par_chunks_mut(HOST_TASK))
        .for_each(|(x, y)| twin::axpby(p.alpha, x, p.beta, y));
}
