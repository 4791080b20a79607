//! `nn/rms_norm_backward`: gradient of the root-mean-square norm of rows.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::nn::rms_norm_backward as twin;
use crate::tensor::{DType, Tensor};

params! {
    /// Sizes and the guard of the root.
    struct Params {
        /// Rows of x.
        rows: u32,
        /// Columns of x.
        cols: u32,
        /// Added to the mean square.
        eps: f32,
        /// Padding.
        pad0: u32,
    }
}

/// The kernel's row.
pub static RMS_NORM_BACKWARD: Kernel = Kernel {
    stem: "nn/rms_norm_backward",
    source: include_str!("../../../shaders/nn/rms_norm_backward.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 3,
    writes: 1,
    host,
};

/// Records the gradient `dx` of the norm's input `x` from the gradient `dy` of its output.
///
/// `x`, `dy` and `dx` `[rows, cols]`, `weight` `[1, cols]`, all f32. Panics on shapes that do not fit.
pub fn rms_norm_backward(recording: &mut Recording, x: &Tensor, weight: &Tensor, eps: f32, [dy, dx]: [&Tensor; 2]) {
    let [rows, cols] = x.shape();
    assert_eq!(weight.shape(), [1, cols], "rms_norm_backward: shape of the weight");
    assert_eq!(dy.shape(), [rows, cols], "rms_norm_backward: shape of dy");
    assert_eq!(dx.shape(), [rows, cols], "rms_norm_backward: shape of dx");
    let f32s = [x, weight, dy, dx].iter().all(|t| t.dtype() == DType::F32);
    assert!(f32s, "rms_norm_backward: x, weight, dy and dx are f32");
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        eps,
        pad0: 0,
    };
    let bindings = [x.slice(), weight.slice(), dy.slice(), dx.slice()];
    let work = Workload::rows(rows, 10.0 * x.len() as f64);
    recording.dispatch(&RMS_NORM_BACKWARD, &[], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let ([x, weight, dy], [dx]) = call.split::<3, 1>();
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    let weight = &f32s(weight)[..cols];
    let inputs = f32s(x).par_chunks(cols).zip(f32s(dy).par_chunks(cols)).take(rows);
    inputs
        .zip(f32s_mut(dx).par_chunks_mut(cols))
        .for_each(|((x, dy), dx)| twin::rms_norm_backward(x, weight, p.eps, dy, dx));
}
