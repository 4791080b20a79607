//! `prox/obs_score`: scores of one block of columns in optimal brain surgery.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::ops::dense::THREADS;
use crate::reference::prox::obs_score as twin;
use crate::tensor::Tensor;

params! {
    /// Sizes.
    struct Params {
        /// Rows.
        rows: u32,
        /// Columns of the whole matrix.
        cols: u32,
        /// First column of the block.
        first: u32,
        /// Columns of the block.
        width: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "prox/obs_score",
    source: include_str!("../../../shaders/prox/obs_score.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 3,
    writes: 2,
    host,
};

/// Records `score[r, j] = w[r, first + j] / U[j, first + j]` and `candidate[r, j] = free[r, first + j]`. w, free:
/// `[rows, cols]`; `u`: rows `first ..` of the upper factor, `[width, cols]`; score, candidate: `[rows, width]`. Panics on
/// other shapes.
pub fn obs_score(
    recording: &mut Recording,
    [w, free]: [&Tensor; 2],
    u: &Tensor,
    first: usize,
    [score, candidate]: [&Tensor; 2],
) {
    let [rows, cols] = w.shape();
    let width = u.rows();
    assert!(first + width <= cols, "obs_score: columns {first} + {width} of {cols}");
    assert!(free.shape() == w.shape() && u.cols() == cols, "obs_score: shapes");
    for out in [score, candidate] {
        assert_eq!(out.shape(), [rows, width], "obs_score: shapes");
    }
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        first: first as u32,
        width: width as u32,
    };
    let bindings = [w, free, u, score, candidate].map(Tensor::slice);
    recording.dispatch(&KERNEL, &[], &params, &bindings, Workload::flat(rows * width, THREADS));
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let (cols, first, width) = (p.cols as usize, p.first as usize, p.width as usize);
    let size = p.rows as usize * width;
    let ([w, free, u], [score, candidate]) = call.split::<3, 2>();
    let (w, free, u) = (f32s(w), f32s(free), f32s(u));
    let writes = f32s_mut(&mut score[..size])
        .par_chunks_mut(width)
        .zip(f32s_mut(&mut candidate[..size]).par_chunks_mut(width));
    writes.enumerate().for_each(|(row, (score, candidate))| {
        let at = row * cols + first..row * cols + first + width;
        twin::obs_score_row(first, cols, &w[at.clone()], u, score);
        candidate.copy_from_slice(&free[at]);
    });
}
