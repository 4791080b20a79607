//! `dense/sum_parts`: the parts of a sum added to its total.

use super::THREADS;
use crate::gpu::{HostCall, Kernel, Recording, Slice, Workload, f32s, f32s_mut, params};
use crate::reference::dense::sum_parts as twin;
use crate::tensor::Tensor;

params! {
    /// Sizes.
    struct Params {
        /// Rows of the total and of each part.
        rows: u32,
        /// Their columns.
        cols: u32,
        /// Number of parts.
        parts: u32,
        /// 1: leave what is below the diagonal as it is.
        upper: u32,
    }
}

/// The kernel row.
pub(crate) static KERNEL: Kernel = Kernel {
    stem: "dense/sum_parts",
    source: include_str!("../../../shaders/dense/sum_parts.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 1,
    writes: 1,
    host,
};

/// Records `total += Σ parts`, with `upper` on and above the diagonal. Panics unless `parts` holds whole matrices of the
/// total's shape.
pub fn sum_parts(recording: &mut Recording, parts: &Slice, upper: bool, total: &Tensor) {
    let whole = total.slice().len;
    assert!(
        whole > 0 && parts.len.is_multiple_of(whole),
        "sum_parts: {} bytes in parts of {whole}",
        parts.len
    );
    let count = (parts.len / whole) as usize;
    let params = Params {
        rows: total.rows() as u32,
        cols: total.cols() as u32,
        parts: count as u32,
        upper: u32::from(upper),
    };
    let work = Workload {
        flops: (count * total.len()) as f64,
        ..Workload::flat(total.len(), THREADS)
    };
    recording.dispatch(&KERNEL, &[], &params, &[parts.clone(), total.slice()], work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let ([parts], [total]) = call.split::<1, 1>();
    let elements = (p.rows * p.cols) as usize;
    let parts = f32s(&parts[..p.parts as usize * elements]);
    twin::sum_parts(p.cols as usize, parts, p.upper == 1, f32s_mut(&mut total[..elements]));
}
