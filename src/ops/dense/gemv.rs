//! `dense/gemv`: panel of a matrix times a vector.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::dense::gemv as twin;
use crate::tensor::Tensor;

params! {
    /// Sizes of the panel and its place in the result.
    struct Params {
        /// Rows of the panel.
        rows: u32,
        /// Columns of the panel.
        cols: u32,
        /// Element of y that belongs to the first row.
        first: u32,
        /// Padding.
        pad0: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "dense/gemv",
    source: include_str!("../../../shaders/dense/gemv.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 2,
    writes: 1,
    host,
};

/// Records `y[first + i] = matrix[i, :] · x` for a panel `[m, n]`, x `[1, n]` and y `[1, >= first + m]`.
/// Panics on other shapes.
pub fn gemv(recording: &mut Recording, matrix: &Tensor, x: &Tensor, first: usize, y: &Tensor) {
    assert_eq!(x.len(), matrix.cols(), "gemv: length of x");
    assert!(
        first + matrix.rows() <= y.len(),
        "gemv: y has {}, needs {}",
        y.len(),
        first + matrix.rows()
    );
    let params = Params {
        rows: matrix.rows() as u32,
        cols: matrix.cols() as u32,
        first: first as u32,
        pad0: 0,
    };
    let bindings = [matrix.slice(), x.slice(), y.slice()];
    let work = Workload::rows(matrix.rows(), 2.0 * matrix.len() as f64);
    recording.dispatch(&KERNEL, &[], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let (rows, cols, first) = (p.rows as usize, p.cols as usize, p.first as usize);
    let ([matrix, x], [y]) = call.split::<2, 1>();
    let x = &f32s(x)[..cols];
    let lines = f32s(&matrix[..rows * cols]).par_chunks(cols);
    lines
        .zip(f32s_mut(&mut y[first..first + rows]))
        .for_each(|(row, y)| *y = twin::dot(row, x));
}
