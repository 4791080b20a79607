//! `bench/gemm_naive`: the matrix product as first written down.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::bench::gemm_naive as twin;
use crate::tensor::Tensor;

params! {
    /// Sizes and the rows of this dispatch.
    struct Params {
        /// Row of the product where this dispatch ends.
        rows: u32,
        /// Columns of the product.
        cols: u32,
        /// Length of the sums.
        inner: u32,
        /// First row of the product.
        first_row: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "bench/gemm_naive",
    source: include_str!("../../../shaders/bench/gemm_naive.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 2,
    writes: 1,
    host,
};

/// Side of a workgroup's tile (`TILE` in the shader).
const TILE: usize = 16;
/// Flops of one dispatch at most: slower than the tuned product, so less at a time.
const DISPATCH_FLOPS: usize = 4_000_000_000;

/// Records `out = a b` for a `[rows, inner]`, b `[inner, cols]` and out `[rows, cols]`, all f32, cut into row blocks short
/// enough for a watchdog. Panics on other shapes.
pub fn gemm_naive(recording: &mut Recording, a: &Tensor, b: &Tensor, out: &Tensor) {
    let [rows, inner, cols] = [a.rows(), a.cols(), b.cols()];
    assert_eq!(b.rows(), inner, "gemm_naive: rows of b");
    assert_eq!(out.shape(), [rows, cols], "gemm_naive: shape of out");
    let block = (DISPATCH_FLOPS / (2 * cols * inner).max(1))
        .next_multiple_of(TILE)
        .max(TILE);
    for first in (0..rows).step_by(block) {
        let height = block.min(rows - first);
        let params = Params {
            rows: (first + height) as u32,
            cols: cols as u32,
            inner: inner as u32,
            first_row: first as u32,
        };
        let work = Workload {
            groups: [cols.div_ceil(TILE) as u32, height.div_ceil(TILE) as u32, 1],
            flops: 2.0 * (height * cols) as f64 * inner as f64,
        };
        recording.dispatch(&KERNEL, &[], &params, &[a.slice(), b.slice(), out.slice()], work);
    }
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let (cols, inner) = (p.cols as usize, p.inner as usize);
    let rows = p.first_row as usize..p.rows as usize;
    let ([a, b], [out]) = call.split::<2, 1>();
    let a = f32s(a)[rows.start * inner..rows.end * inner].par_chunks(inner.max(1));
    let out = f32s_mut(&mut out[rows.start * cols..rows.end * cols]).par_chunks_mut(cols);
    a.zip(out)
        .for_each(|(a, out)| twin::gemm_naive(inner, cols, a, f32s(b), out));
}
