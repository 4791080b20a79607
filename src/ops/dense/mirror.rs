//! `dense/mirror`: makes a square matrix symmetric from its upper triangle.

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s_mut, params};
use crate::reference::dense::mirror as twin;
use crate::tensor::Tensor;

params! {
    /// Size and factor.
    struct Params {
        /// Rows and columns.
        size: u32,
        /// Factor of everything.
        alpha: f32,
        /// Padding.
        pad0: u32,
        /// Padding.
        pad1: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "dense/mirror",
    source: include_str!("../../../shaders/dense/mirror.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 0,
    writes: 1,
    host,
};

/// Records `x[i, j] = x[j, i] = alpha * x[i, j]` for `i <= j`, in place. What was below the diagonal is not read.
/// Panics unless x is square.
pub fn mirror(recording: &mut Recording, x: &Tensor, alpha: f32) {
    /// Side of a workgroup's tile (`TILE` in the shader).
    const TILE: usize = 16;
    assert_eq!(x.rows(), x.cols(), "mirror: x is square");
    let params = Params {
        size: x.rows() as u32,
        alpha,
        ..Params::default()
    };
    let tiles = x.rows().div_ceil(TILE) as u32;
    let work = Workload {
        groups: [tiles, tiles, 1],
        flops: x.len() as f64,
    };
    recording.dispatch(&KERNEL, &[], &params, &[x.slice()], work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let ([], [x]) = call.split::<0, 1>();
    twin::mirror(p.size as usize, p.alpha, f32s_mut(x));
}
