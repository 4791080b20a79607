//! `dense/permute`: rows and columns of a square matrix in another order.

use rayon::prelude::*;

use super::THREADS;
use crate::gpu::{HostCall, Kernel, Recording, Slice, Workload, f32s, f32s_mut, params};
use crate::reference::dense::permute as twin;
use crate::tensor::PanelMatrix;

params! {
    /// Sizes and places.
    struct Params {
        /// Columns.
        n: u32,
        /// Rows of the result's panel.
        rows: u32,
        /// First of them.
        first: u32,
        /// First row of the panel read.
        start: u32,
        /// Its rows.
        x_rows: u32,
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
    stem: "dense/permute",
    source: include_str!("../../../shaders/dense/permute.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 2,
    writes: 1,
    host,
};

/// Records `out[i, j] = x[order[i], order[j]]`; `order` holds every number below n once, as u32. Panics on sizes.
pub fn permute(recording: &mut Recording, order: &Slice, x: &PanelMatrix, out: &PanelMatrix) {
    let n = x.n();
    assert_eq!(out.n(), n, "permute: sizes");
    assert_eq!(order.len, 4 * n as u64, "permute: bytes of the order");
    for (first, to) in out.panels() {
        for (start, from) in x.panels() {
            let params = Params {
                n: n as u32,
                rows: to.rows() as u32,
                first: first as u32,
                start: start as u32,
                x_rows: from.rows() as u32,
                ..Default::default()
            };
            let bindings = [order.clone(), from.slice(), to.slice()];
            recording.dispatch(&KERNEL, &[], &params, &bindings, Workload::flat(to.len(), THREADS));
        }
    }
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let (n, first) = (p.n as usize, p.first as usize);
    let ([order, x], [out]) = call.split::<2, 1>();
    let (order, x) = (&order[..n], &f32s(x)[..p.x_rows as usize * n]);
    let out = &mut f32s_mut(out)[..p.rows as usize * n];
    (out.par_chunks_exact_mut(n).enumerate())
        .for_each(|(i, row)| twin::permute(order, [first + i, p.start as usize], x, row));
}
