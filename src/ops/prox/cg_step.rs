//! `prox/cg_step`: one step of the masked conjugate gradient.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::prox::cg_step as twin;
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
    stem: "prox/cg_step",
    source: include_str!("../../../shaders/prox/cg_step.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 2,
    writes: 4,
    host,
};

/// Records one step per row with its own step length: v, r, p and `rs = |r|²` move on, given `ph = P H` (unmasked). rs is
/// `[2, m]` as [`super::cg_begin()`] leaves it, all others `[m, n]`; p is zero off the support. A row whose rs is not above
/// its floor or whose curvature is not positive stays as it is. Panics on other shapes.
pub fn cg_step(
    recording: &mut Recording,
    ph: &Tensor,
    support: &Tensor,
    v: &Tensor,
    r: &Tensor,
    p: &Tensor,
    rs: &Tensor,
) {
    for tensor in [support, v, r, p] {
        assert_eq!(tensor.shape(), ph.shape(), "cg_step: shapes");
    }
    assert_eq!(rs.shape(), [2, ph.rows()], "cg_step: shape of rs");
    let params = Params {
        rows: ph.rows() as u32,
        cols: ph.cols() as u32,
        ..Params::default()
    };
    let bindings = [ph, support, v, r, p, rs].map(Tensor::slice);
    let work = Workload::rows(ph.rows(), 10.0 * ph.len() as f64);
    recording.dispatch(&KERNEL, &[], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let size = call.params::<Params>();
    let (rows, cols) = (size.rows as usize, size.cols as usize);
    let size = rows * cols;
    let ([ph, support], [v, r, p, rs]) = call.split::<2, 4>();
    let (ph, support) = (f32s(ph), f32s(support));
    let (rs, floors) = f32s_mut(&mut rs[..2 * rows]).split_at_mut(rows);
    let solution = f32s_mut(&mut v[..size]).par_chunks_mut(cols);
    solution
        .zip(f32s_mut(&mut r[..size]).par_chunks_mut(cols))
        .zip(f32s_mut(&mut p[..size]).par_chunks_mut(cols))
        .zip(rs)
        .zip(&*floors)
        .enumerate()
        .for_each(|(row, ((((v, r), p), rs), floor))| {
            let at = row * cols..(row + 1) * cols;
            let given = twin::Row {
                ph: &ph[at.clone()],
                support: &support[at],
            };
            twin::cg_step_row(given, v, r, p, rs, *floor);
        });
}
