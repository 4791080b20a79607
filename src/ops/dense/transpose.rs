//! `dense/transpose`: transposes a stored matrix into f32.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Knob, Recording, Workload, f32s_mut, params};
use crate::reference::dense::{gemm::decode, transpose as twin};
use crate::tensor::{DType, Tensor};

params! {
    /// Sizes of the source.
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
    stem: "dense/transpose",
    source: include_str!("../../../shaders/dense/transpose.wgsl"),
    knobs: &[Knob {
        name: "B_FORMAT",
        values: &[0, 1, 2],
    }],
    params: Params::FIELDS,
    reads: 1,
    writes: 1,
    host,
};

/// Records `out[j, i] = x[i, j]` for x `[m, n]` of any element type and out `[n, m]` f32. Panics on other shapes.
pub fn transpose(recording: &mut Recording, x: &Tensor, out: &Tensor) {
    /// Side of a workgroup's tile (`TILE` in the shader).
    const TILE: usize = 16;
    assert_eq!([x.cols(), x.rows()], out.shape(), "transpose: shape of out");
    assert_eq!(out.dtype(), DType::F32, "transpose: out is f32");
    let params = Params {
        rows: x.rows() as u32,
        cols: x.cols() as u32,
        ..Params::default()
    };
    let work = Workload {
        groups: [x.cols().div_ceil(TILE) as u32, x.rows().div_ceil(TILE) as u32, 1],
        flops: x.len() as f64 * 4.0,
    };
    let bindings = [x.slice(), out.slice()];
    recording.dispatch(&KERNEL, &[x.dtype().code()], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    /// Rows of out per task: one cache line of x.
    const TASK: usize = 16;
    let p: Params = call.params();
    let format = call.knobs[0];
    let ([x], [out]) = call.split::<1, 1>();
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    let tasks = f32s_mut(&mut out[..rows * cols]).par_chunks_mut(TASK * rows);
    tasks
        .enumerate()
        .for_each(|(i, out)| twin::transpose(rows, i * TASK, |r, c| decode(format, x, r * cols + c), out));
}
