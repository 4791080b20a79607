//! `dense/scatter_rows`: adds weighted rows to chosen rows of a matrix.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Slice, Workload, f32s, f32s_mut, params};
use crate::reference::dense::scatter_rows as twin;
use crate::tensor::{DType, Tensor};

params! {
    /// Sizes.
    struct Params {
        /// Rows of x.
        count: u32,
        /// Columns of x and out.
        cols: u32,
        /// Rows of out.
        out_rows: u32,
        /// Padding.
        pad0: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "dense/scatter_rows",
    source: include_str!("../../../shaders/dense/scatter_rows.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 3,
    writes: 1,
    host,
};

/// Records `out[rows[i], :] += weights[i] * x[i, :]`: an expert's results go back to the tokens that chose it.
///
/// `rows` holds one u32 per row of `x` `[n, cols]`, no number twice (the sum would be lost); numbers beyond the rows of
/// `out` `[m, cols]` are skipped. `weights` `[1, n]`; all tensors f32. Panics on shapes that do not fit.
/// The opposite, gathering, is `nn::embed`.
pub fn scatter_rows(recording: &mut Recording, rows: &Slice, weights: &Tensor, x: &Tensor, out: &Tensor) {
    let [count, cols] = x.shape();
    assert!(
        rows.len >= count as u64 * 4,
        "scatter_rows: {} bytes of row numbers for {count}",
        rows.len
    );
    assert_eq!(weights.shape(), [1, count], "scatter_rows: shape of the weights");
    assert_eq!(out.cols(), cols, "scatter_rows: columns of out");
    let f32s = [weights, x, out].iter().all(|t| t.dtype() == DType::F32);
    assert!(f32s, "scatter_rows: weights, x and out are f32");
    let params = Params {
        count: count as u32,
        cols: cols as u32,
        out_rows: out.rows() as u32,
        pad0: 0,
    };
    let bindings = [rows.clone(), weights.slice(), x.slice(), out.slice()];
    let work = Workload::rows(count, 2.0 * x.len() as f64);
    recording.dispatch(&KERNEL, &[], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let ([rows, weights, x], [out]) = call.split::<3, 1>();
    let (weights, x, cols) = (f32s(weights), f32s(x), p.cols as usize);
    let out_rows = p.out_rows as usize;
    // Which row of x goes to a row of out, so that rows of out can be shared among the cores.
    let mut source = vec![None; out_rows];
    for (i, row) in rows[..p.count as usize].iter().enumerate() {
        if let Some(source) = source.get_mut(*row as usize) {
            *source = Some(i);
        }
    }
    let out = f32s_mut(out).par_chunks_mut(cols).take(out_rows);
    out.zip(source).for_each(|(out, source)| {
        if let Some(i) = source {
            twin::add_weighted(weights[i], &x[i * cols..][..cols], out);
        }
    });
}
