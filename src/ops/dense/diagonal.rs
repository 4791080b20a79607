//! `dense/diagonal`: reads the diagonal of a panel of rows.

use crate::gpu::{HostCall, Kernel, Recording, Workload, params};
use crate::reference::dense::diagonal as twin;
use crate::tensor::Tensor;

params! {
    /// Sizes of the panel and its place on the diagonal.
    struct Params {
        /// Rows of the panel.
        rows: u32,
        /// Columns of the panel.
        cols: u32,
        /// Column of the first row's diagonal element.
        first: u32,
        /// Padding.
        pad0: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "dense/diagonal",
    source: include_str!("../../../shaders/dense/diagonal.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 1,
    writes: 1,
    host,
};

/// Records `out[first + i] = x[i, first + i]` for a panel x `[m, n]` and out `[1, >= first + m]`.
/// `first` is the column of the first row's diagonal element. Panics on other shapes.
pub fn diagonal(recording: &mut Recording, x: &Tensor, first: usize, out: &Tensor) {
    let end = first + x.rows();
    assert!(
        end <= x.cols() && end <= out.len(),
        "diagonal: {end} of {} and {}",
        x.cols(),
        out.len()
    );
    let params = Params {
        rows: x.rows() as u32,
        cols: x.cols() as u32,
        first: first as u32,
        pad0: 0,
    };
    let work = Workload::flat(x.rows(), 64);
    recording.dispatch(&KERNEL, &[], &params, &[x.slice(), out.slice()], work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let ([x], [out]) = call.split::<1, 1>();
    twin::diagonal([p.rows as usize, p.cols as usize], p.first as usize, x, out);
}
