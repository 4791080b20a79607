//! `dense/multiply`: elementwise product.

use rayon::prelude::*;

use super::{HOST_TASK, THREADS};
use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::dense::multiply as twin;
use crate::tensor::Tensor;

params! {
    /// Number of elements.
    struct Params {
        /// Number of elements.
        count: u32,
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
    stem: "dense/multiply",
    source: include_str!("../../../shaders/dense/multiply.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 1,
    writes: 1,
    host,
};

/// Records `y = x * y`, elementwise. Panics if the shapes differ.
pub fn multiply(recording: &mut Recording, x: &Tensor, y: &Tensor) {
    assert_eq!(x.shape(), y.shape(), "multiply: shapes");
    let params = Params {
        count: x.len() as u32,
        ..Params::default()
    };
    let work = Workload::flat(x.len(), THREADS);
    recording.dispatch(&KERNEL, &[], &params, &[x.slice(), y.slice()], work);
}

fn host(call: &mut HostCall<'_>) {
    let count = call.params::<Params>().count as usize;
    let ([x], [y]) = call.split::<1, 1>();
    let tasks = f32s(&x[..count]).par_chunks(HOST_TASK);
    tasks
        .zip(f32s_mut(&mut y[..count]).par_chunks_mut(HOST_TASK))
        .for_each(|(x, y)| twin::multiply(x, y));
}
