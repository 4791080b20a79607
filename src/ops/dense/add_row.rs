//! `dense/add_row`: adds a row to every row.

use rayon::prelude::*;

use super::{HOST_TASK, THREADS};
use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::dense::add_row as twin;
use crate::tensor::{DType, Tensor};

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
    stem: "dense/add_row",
    source: include_str!("../../../shaders/dense/add_row.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 1,
    writes: 1,
    host,
};

/// Records `x[i, j] += row[j]` for x `[m, n]` and row `[1, n]`, both f32: a bias. Panics on other shapes.
pub fn add_row(recording: &mut Recording, row: &Tensor, x: &Tensor) {
    assert_eq!(row.shape(), [1, x.cols()], "add_row: shape of the row");
    let f32s = row.dtype() == DType::F32 && x.dtype() == DType::F32;
    assert!(f32s, "add_row: row and x are f32");
    let params = Params {
        rows: x.rows() as u32,
        cols: x.cols() as u32,
        ..Params::default()
    };
    let work = Workload::flat(x.len(), THREADS);
    recording.dispatch(&KERNEL, &[], &params, &[row.slice(), x.slice()], work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let cols = p.cols as usize;
    let ([row], [x]) = call.split::<1, 1>();
    let row = &f32s(row)[..cols];
    let tasks = f32s_mut(&mut x[..p.rows as usize * cols]).par_chunks_mut(HOST_TASK.div_ceil(cols) * cols);
    tasks.for_each(|x| twin::add_row(row, x));
}
