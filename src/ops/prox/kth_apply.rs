//! `prox/kth_apply`: the last pass of a radix select.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::ops::dense::THREADS;
use crate::reference::prox::kth_apply as twin;
use crate::tensor::Tensor;

use super::Segments;

params! {
    /// The cut into segments.
    struct Params {
        /// Rows of this window.
        rows: u32,
        /// Columns of the matrix.
        cols: u32,
        /// Rows of a segment inside the window.
        height: u32,
        /// Columns of a segment.
        width: u32,
        /// Index inside its segment of the window's first element.
        base: u32,
        /// Largest index inside a segment.
        last: u32,
        /// Padding.
        pad0: u32,
        /// Padding.
        pad1: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "prox/kth_apply",
    source: include_str!("../../../shaders/prox/kth_apply.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 3,
    writes: 2,
    host,
};

/// Records out = v and support = 1 where a free element reaches the threshold in state `[segments, 4]`, else 0 and 0.
pub fn kth_apply(
    recording: &mut Recording,
    cut: &Segments,
    v: &Tensor,
    free: &Tensor,
    state: &Tensor,
    out: &Tensor,
    support: &Tensor,
) {
    let params = Params {
        rows: v.rows() as u32,
        cols: cut.cols as u32,
        height: cut.height as u32,
        width: cut.width as u32,
        base: cut.base as u32,
        last: cut.last as u32,
        ..Params::default()
    };
    let bindings = [v, free, state, out, support].map(Tensor::slice);
    let work = Workload::flat(v.len(), THREADS);
    recording.dispatch(&KERNEL, &[], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let (cols, size) = (p.cols as usize, (p.rows * p.cols) as usize);
    let cut = Segments {
        cols,
        height: p.height as usize,
        width: p.width as usize,
        count: 0,
        base: p.base as usize,
        last: p.last as usize,
    };
    let ([v, free, state], [out, support]) = call.split::<3, 2>();
    let reads = v[..size].par_chunks(cols).zip(f32s(&free[..size]).par_chunks(cols));
    let writes = out[..size]
        .par_chunks_mut(cols)
        .zip(f32s_mut(&mut support[..size]).par_chunks_mut(cols));
    reads
        .zip(writes)
        .enumerate()
        .for_each(|(row, ((v, free), out))| twin::kth_apply_row(&cut, row, v, free, state, out));
}
