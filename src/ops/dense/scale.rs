//! `dense/scale`: scaling of rows and columns.

use rayon::prelude::*;

use super::THREADS;
use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::dense::scale as twin;
use crate::tensor::Tensor;

params! {
    /// Sizes.
    struct Params {
        /// Rows of x.
        rows: u32,
        /// Columns of x.
        cols: u32,
        /// Padding.
        pad0: u32,
        /// Padding.
        pad1: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "dense/scale",
    source: include_str!("../../../shaders/dense/scale.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 2,
    writes: 1,
    host,
};

/// Records `x[i, j] *= row[i] * col[j]` for x `[m, n]`, row `[1, m]`, col `[1, n]`. Panics on other shapes.
pub fn scale(recording: &mut Recording, x: &Tensor, row: &Tensor, col: &Tensor) {
    assert_eq!([row.len(), col.len()], x.shape(), "scale: factors");
    let params = Params {
        rows: x.rows() as u32,
        cols: x.cols() as u32,
        ..Params::default()
    };
    let bindings = [row.slice(), col.slice(), x.slice()];
    recording.dispatch(&KERNEL, &[], &params, &bindings, Workload::flat(x.len(), THREADS));
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let cols = p.cols as usize;
    let ([row, col], [x]) = call.split::<2, 1>();
    let (row, col) = (f32s(row), &f32s(col)[..cols]);
    let lines = f32s_mut(&mut x[..p.rows as usize * cols]).par_chunks_mut(cols);
    lines.zip(row).for_each(|(x, row)| twin::scale_row(*row, col, x));
}
