//! `dense/set_diagonal`: writes the diagonal of a panel of rows.

use crate::gpu::{HostCall, Kernel, Recording, Workload, params};
use crate::reference::dense::set_diagonal as twin;
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
    stem: "dense/set_diagonal",
    source: include_str!("../../../shaders/dense/set_diagonal.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 1,
    writes: 1,
    host,
};

/// Records `x[i, first + i] = values[first + i]` for a panel x `[m, n]` and values `[1, >= first + m]`.
/// `first` is the column of the first row's diagonal element. Panics on other shapes.
pub fn set_diagonal(recording: &mut Recording, values: &Tensor, first: usize, x: &Tensor) {
    let end = first + x.rows();
    assert!(
        end <= x.cols() && end <= values.len(),
        "set_diagonal: {end} of {} and {}",
        x.cols(),
        values.len()
    );
    let params = Params {
        rows: x.rows() as u32,
        cols: x.cols() as u32,
        first: first as u32,
        pad0: 0,
    };
    let work = Workload::flat(x.rows(), 64);
    recording.dispatch(&KERNEL, &[], &params, &[values.slice(), x.slice()], work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let ([values], [x]) = call.split::<1, 1>();
    twin::set_diagonal([p.rows as usize, p.cols as usize], p.first as usize, values, x);
}
