//! `dense/row_reduce`: each row to a number.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Knob, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::dense::row_reduce as twin;
use crate::tensor::Tensor;

params! {
    /// Sizes.
    struct Params {
        /// Rows.
        rows: u32,
        /// Columns.
        cols: u32,
        /// Padding.
        pad0: u32,
        /// Padding.
        pad1: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "dense/row_reduce",
    source: include_str!("../../../shaders/dense/row_reduce.wgsl"),
    knobs: &[Knob {
        name: "MODE",
        values: &[0, 1, 2],
    }],
    params: Params::FIELDS,
    reads: 2,
    writes: 1,
    host,
};

/// What a row becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowReduce {
    /// `a · b`.
    Dot = 0,
    /// Number of nonzeros of a (exact up to 2^24).
    CountNonZero = 1,
    /// Sum of `|a|`.
    AbsSum = 2,
}

/// Records one number per row of a `[m, n]` into out `[1, m]`. Only [`RowReduce::Dot`] reads b; give a again otherwise.
/// Panics on other shapes.
pub fn row_reduce(recording: &mut Recording, mode: RowReduce, a: &Tensor, b: &Tensor, out: &Tensor) {
    assert_eq!(a.shape(), b.shape(), "row_reduce: shapes");
    assert_eq!(out.len(), a.rows(), "row_reduce: length of out");
    let params = Params {
        rows: a.rows() as u32,
        cols: a.cols() as u32,
        ..Params::default()
    };
    let bindings = [a.slice(), b.slice(), out.slice()];
    let work = Workload::rows(a.rows(), 2.0 * a.len() as f64);
    recording.dispatch(&KERNEL, &[mode as u32], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let mode = call.knobs[0];
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    let ([a, b], [out]) = call.split::<2, 1>();
    let lines = f32s(&a[..rows * cols]).par_chunks(cols);
    lines
        .zip(f32s(&b[..rows * cols]).par_chunks(cols))
        .zip(f32s_mut(&mut out[..rows]))
        .for_each(|((a, b), out)| *out = twin::row_reduce(mode, a, b));
}
