//! `nn/rms_norm`: root-mean-square norm of rows.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::nn::rms_norm as twin;
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
pub static RMS_NORM: Kernel = Kernel {
    stem: "nn/rms_norm",
    source: include_str!("../../../shaders/nn/rms_norm.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 2,
    writes: 1,
    host,
};

/// Records `out = x / sqrt(mean(x²) + eps) * weight` per row.
///
/// `x` and `out` `[rows, cols]`, `weight` `[1, cols]`, all f32. Panics on shapes that do not fit.
pub fn rms_norm(recording: &mut Recording, x: &Tensor, weight: &Tensor, eps: f32, out: &Tensor) {
    let [rows, cols] = x.shape();
    assert_eq!(weight.shape(), [1, cols], "rms_norm: shape of the weight");
    assert_eq!(out.shape(), [rows, cols], "rms_norm: shape of out");
    let f32s = [x, weight, out].iter().all(|t| t.dtype() == DType::F32);
    assert!(f32s, "rms_norm: x, weight and out are f32");
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        eps,
        pad0: 0,
    };
    let bindings = [x.slice(), weight.slice(), out.slice()];
    recording.dispatch(
        &RMS_NORM,
        &[],
        &params,
        &bindings,
        Workload::rows(rows, 4.0 * x.len() as f64),
    );
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let ([x, weight], [out]) = call.split::<2, 1>();
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    let x = f32s(x).par_chunks(cols).take(rows);
    x.zip(f32s_mut(out).par_chunks_mut(cols))
        .for_each(|(x, out)| twin::rms_norm(x, &f32s(weight)[..cols], p.eps, out));
}
