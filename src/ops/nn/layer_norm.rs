//! `nn/layer_norm`: layer norm of rows.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::nn::layer_norm as twin;
use crate::tensor::{DType, Tensor};

params! {
    /// Sizes and the guard of the root.
    struct Params {
        /// Rows of x.
        rows: u32,
        /// Columns of x.
        cols: u32,
        /// Added to the variance.
        eps: f32,
        /// Padding.
        pad0: u32,
    }
}

/// The kernel's row.
pub static LAYER_NORM: Kernel = Kernel {
    stem: "nn/layer_norm",
    source: include_str!("../../../shaders/nn/layer_norm.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 3,
    writes: 1,
    host,
};

/// Records `out = (x - mean) / sqrt(var + eps) * weight + bias` per row, the variance being that of the whole row.
///
/// `x` and `out` `[rows, cols]`, `weight` and `bias` `[1, cols]`, all f32. Panics on shapes that do not fit.
pub fn layer_norm(recording: &mut Recording, x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32, out: &Tensor) {
    let [rows, cols] = x.shape();
    assert_eq!(weight.shape(), [1, cols], "layer_norm: shape of the weight");
    assert_eq!(bias.shape(), [1, cols], "layer_norm: shape of the bias");
    assert_eq!(out.shape(), [rows, cols], "layer_norm: shape of out");
    let f32s = [x, weight, bias, out].iter().all(|t| t.dtype() == DType::F32);
    assert!(f32s, "layer_norm: x, weight, bias and out are f32");
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        eps,
        pad0: 0,
    };
    let bindings = [x.slice(), weight.slice(), bias.slice(), out.slice()];
    let work = Workload::rows(rows, 8.0 * x.len() as f64);
    recording.dispatch(&LAYER_NORM, &[], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let ([x, weight, bias], [out]) = call.split::<3, 1>();
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    let (weight, bias) = (&f32s(weight)[..cols], &f32s(bias)[..cols]);
    let x = f32s(x).par_chunks(cols).take(rows);
    x.zip(f32s_mut(out).par_chunks_mut(cols))
        .for_each(|(x, out)| twin::layer_norm(x, weight, bias, p.eps, out));
}
