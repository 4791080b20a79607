//! `prox/fista_step` and its `_double`, `_register`, `_subgroup` and `_coop` variants: one FISTA iteration fused with its
//! matrix product.

use rayon::prelude::*;

use crate::gpu::{Gpu, HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::ops::dense::HOST_TASK;
use crate::ops::dense::{Layout, fastest};
use crate::ops::tile::{TILE, product_variants};
use crate::ops::{Precision, Variant};
use crate::reference::dense::gemm::{Target, View, gemm_fast};
use crate::reference::prox::fista_step as twin;
use crate::tensor::{DType, Tensor};

params! {
    /// Sizes, starts and the scalars of a step.
    struct Params {
        /// Rows of this block.
        rows: u32,
        /// Columns.
        cols: u32,
        /// Rows of the panel of h.
        inner: u32,
        /// First element of the block in every `[m, n]` matrix.
        start: u32,
        /// First column of y that meets the panel.
        y_col: u32,
        /// 1: y_next holds the earlier panels' products.
        accumulate: u32,
        /// Length of the gradient step.
        step: f32,
        /// Threshold of the shrinkage.
        threshold: f32,
        /// Factor of the extrapolation.
        momentum: f32,
        /// Padding.
        pad0: u32,
        /// Padding.
        pad1: u32,
        /// Padding.
        pad2: u32,
    }
}

/// The variant for GPUs.
pub static TILED: Kernel = Kernel {
    stem: "prox/fista_step",
    source: include_str!("../../../shaders/prox/fista_step.wgsl"),
    knobs: &[TILE],
    params: Params::FIELDS,
    reads: 4,
    writes: 2,
    host,
};

product_variants!(
    [],
    "prox/fista_step_double",
    "prox/fista_step_register",
    "prox/fista_step_subgroup",
    "prox/fista_step_coop"
);

/// `v = y - step (y h - b)`, `x' = soft(v, threshold) ∘ free`, `y_next = x' + momentum (x' - x)`, `x = x'`.
///
/// H may be split into panels of rows when it exceeds a binding: record plain products of the earlier panels into
/// y_next, then this step on the last one with `accumulate`.
pub struct FistaStep<'a> {
    /// `[m, n]`: the extrapolated point.
    pub y: &'a Tensor,
    /// First column of y that meets the panel: the row of H where it starts.
    pub y_col: usize,
    /// `[panel, n]`: rows of H; all n of them when H is whole.
    pub h: &'a Tensor,
    /// `[m, n]`: the linear term.
    pub b: &'a Tensor,
    /// `[m, n]` of 0 or 1; 0 must stay zero.
    pub free: &'a Tensor,
    /// `[m, n]`: the iterate, replaced.
    pub x: &'a Tensor,
    /// `[m, n]`: the next extrapolated point.
    pub y_next: &'a Tensor,
    /// Length of the gradient step, 1 / L.
    pub step: f32,
    /// Threshold of the shrinkage, step * lambda.
    pub threshold: f32,
    /// Factor of the extrapolation.
    pub momentum: f32,
    /// y_next holds the sums of earlier panels.
    pub accumulate: bool,
}

/// Records a step, cut into row blocks short enough for a watchdog. Panics on shapes that do not fit.
pub fn fista_step(recording: &mut Recording, gpu: &Gpu, call: &FistaStep<'_>) {
    // The product in it decides; what comes after is the same for all tiles.
    let sizes = [call.x.rows(), call.x.cols(), call.h.rows()];
    let product = fastest(gpu, Precision::Split, sizes, (Layout::NN, DType::F32));
    fista_step_with(recording, product.of_kind(KINDS), call);
}

/// Records a step on a given variant (tests and benches).
pub fn fista_step_with(recording: &mut Recording, variant: impl Into<Variant>, call: &FistaStep<'_>) {
    let variant = variant.into();
    let tile = variant.size();
    let ([rows, cols], inner) = (call.x.shape(), call.h.rows());
    for (name, tensor) in [
        ("y", call.y),
        ("b", call.b),
        ("free", call.free),
        ("y_next", call.y_next),
    ] {
        assert_eq!(tensor.shape(), [rows, cols], "fista_step: shape of {name}");
    }
    assert_eq!(call.h.cols(), cols, "fista_step: columns of h");
    assert!(call.y_col + inner <= cols, "fista_step: panel beyond the last row of H");
    let block = (variant.dispatch / (2 * cols * inner).max(1))
        .next_multiple_of(tile[0])
        .max(tile[0]);
    for row in (0..rows).step_by(block) {
        let height = block.min(rows - row);
        let params = Params {
            rows: height as u32,
            cols: cols as u32,
            inner: inner as u32,
            start: (row * cols) as u32,
            y_col: call.y_col as u32,
            accumulate: u32::from(call.accumulate),
            step: call.step,
            threshold: call.threshold,
            momentum: call.momentum,
            ..Params::default()
        };
        let reads = [call.y, call.h, call.b, call.free];
        let bindings = [reads.as_slice(), &[call.x, call.y_next]].concat();
        let bindings: Vec<_> = bindings.iter().map(|tensor| tensor.slice()).collect();
        let groups = [cols.div_ceil(tile[1]) as u32, height.div_ceil(tile[0]) as u32, 1];
        let flops = 2.0 * (height * cols) as f64 * inner as f64;
        recording.dispatch(
            variant.kernel,
            &variant.knobs(&[]),
            &params,
            &bindings,
            Workload { groups, flops },
        );
    }
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let ([y, h, b, free], [x, y_next]) = call.split::<4, 2>();
    let (rows, cols, start) = (p.rows as usize, p.cols as usize, p.start as usize);
    let block = start..start + rows * cols;
    // The product goes where the step is written in the end: no scratch.
    let target = Target {
        start,
        stride: cols,
        alpha: 1.0,
        beta: p.accumulate as f32,
    };
    let left = View::new(f32s(y), start + p.y_col as usize, cols, 1);
    let shape = [rows, cols, p.inner as usize];
    gemm_fast(shape, left, View::row_major(f32s(h), cols), target, f32s_mut(y_next));
    let step = twin::Step {
        step: p.step,
        threshold: p.threshold,
        momentum: p.momentum,
    };
    let tasks = f32s_mut(&mut x[block.clone()]).par_chunks_mut(HOST_TASK);
    tasks
        .zip(f32s_mut(&mut y_next[block.clone()]).par_chunks_mut(HOST_TASK))
        .enumerate()
        .for_each(|(i, (x, y_next))| {
            let at = start + i * HOST_TASK..start + i * HOST_TASK + x.len();
            let row = twin::Row {
                y: &f32s(y)[at.clone()],
                b: &f32s(b)[at.clone()],
                free: &f32s(free)[at],
            };
            twin::shrink(step, row, x, y_next);
        });
}
