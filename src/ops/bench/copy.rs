//! `bench/copy`: copy of an array by a kernel.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Workload, params};
use crate::ops::dense::THREADS;
use crate::reference::bench::copy as twin;
use crate::tensor::Tensor;

params! {
    /// Size.
    struct Params {
        /// Groups of four elements.
        quads: u32,
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
    stem: "bench/copy",
    source: include_str!("../../../shaders/bench/copy.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 1,
    writes: 1,
    host,
};

/// Records `out = x`. Panics unless both have the same multiple of four elements.
pub fn copy(recording: &mut Recording, x: &Tensor, out: &Tensor) {
    assert_eq!(x.shape(), out.shape(), "copy: shapes");
    assert!(x.len().is_multiple_of(4), "copy: {} elements are no quads", x.len());
    let params = Params {
        quads: (x.len() / 4) as u32,
        ..Params::default()
    };
    let work = Workload::flat(x.len() / 4, THREADS);
    recording.dispatch(&KERNEL, &[], &params, &[x.slice(), out.slice()], work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let count = 4 * p.quads as usize;
    let ([x], [out]) = call.split::<1, 1>();
    let task = count.div_ceil(rayon::current_num_threads()).max(1);
    let pieces = x[..count].par_chunks(task).zip(out[..count].par_chunks_mut(task));
    pieces.for_each(|(x, out)| twin::copy(x, out));
}
