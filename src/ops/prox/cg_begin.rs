//! `prox/cg_begin`: first residual of the masked conjugate gradient.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::prox::cg_begin as twin;
use crate::tensor::Tensor;

params! {
    /// Sizes.
    struct Params {
        /// Rows.
        rows: u32,
        /// Columns.
        cols: u32,
        /// Padding.
        pad0: u32,
        /// Padding.
        pad1: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "prox/cg_begin",
    source: include_str!("../../../shaders/prox/cg_begin.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 3,
    writes: 3,
    host,
};

/// Records `r = (b - vh) ∘ support`, `p = r`, `rs[0, i] = |r_i|²`, and in `rs[1, i]` what that must exceed to be more than
/// rounding; rs is `[2, m]`, all others `[m, n]`, `vh = V H`.
/// Panics on other shapes.
pub fn cg_begin(
    recording: &mut Recording,
    vh: &Tensor,
    b: &Tensor,
    support: &Tensor,
    r: &Tensor,
    p: &Tensor,
    rs: &Tensor,
) {
    for tensor in [b, support, r, p] {
        assert_eq!(tensor.shape(), vh.shape(), "cg_begin: shapes");
    }
    assert_eq!(rs.shape(), [2, vh.rows()], "cg_begin: shape of rs");
    let params = Params {
        rows: vh.rows() as u32,
        cols: vh.cols() as u32,
        ..Params::default()
    };
    let bindings = [vh, b, support, r, p, rs].map(Tensor::slice);
    let work = Workload::rows(vh.rows(), 4.0 * vh.len() as f64);
    recording.dispatch(&KERNEL, &[], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let size = call.params::<Params>();
    let (rows, cols) = (size.rows as usize, size.cols as usize);
    let size = rows * cols;
    let ([vh, b, support], [r, p, rs]) = call.split::<3, 3>();
    let (vh, b, support) = (f32s(vh), f32s(b), f32s(support));
    let (rs, floors) = f32s_mut(&mut rs[..2 * rows]).split_at_mut(rows);
    let residual = f32s_mut(&mut r[..size]).par_chunks_mut(cols);
    residual
        .zip(f32s_mut(&mut p[..size]).par_chunks_mut(cols))
        .zip(rs)
        .zip(floors)
        .enumerate()
        .for_each(|(row, (((r, p), rs), floor))| {
            let at = row * cols..(row + 1) * cols;
            [*rs, *floor] = twin::cg_begin_row(&vh[at.clone()], &b[at.clone()], &support[at], r, p);
        });
}
