//! `prox/obs_sweep`: SparseGPT's sweep over one block of columns.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::prox::obs_sweep as twin;
use crate::tensor::Tensor;

/// Columns of a block at most (`COLS` in the shader).
pub const OBS_COLS: usize = 128;
/// Rows of a workgroup (`ROWS` in the shader).
const ROWS: usize = 8;

params! {
    /// Sizes and what is kept.
    struct Params {
        /// Rows.
        rows: u32,
        /// Columns of the whole matrix.
        cols: u32,
        /// First column of the block.
        first: u32,
        /// Columns of the block.
        width: u32,
        /// Kept of a group.
        keep: u32,
        /// Columns that choose together.
        group: u32,
        /// Column of `allowed` that belongs to the block's first.
        allowed_first: u32,
        /// Columns of `allowed`.
        allowed_cols: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "prox/obs_sweep",
    source: include_str!("../../../shaders/prox/obs_sweep.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 2,
    writes: 3,
    host,
};

/// Who survives a sweep.
#[derive(Clone, Copy)]
pub enum Survivors<'a> {
    /// Where this block mask `[rows, width]` is not 0.
    Given(&'a Tensor),
    /// The `n` largest `|v_j / U_jj|` of every `m` columns when the sweep reaches them, among those where `free`
    /// `[rows, cols]` is not 0; ties by lower index.
    Nm {
        /// 0: never kept.
        free: &'a Tensor,
        /// Kept of a group.
        n: usize,
        /// Columns of a group; divides `first` and the width.
        m: usize,
    },
}

/// One sweep over the columns `first .. first + width`.
#[derive(Clone, Copy)]
pub struct ObsSweep<'a> {
    /// Rows `first .. first + width` of the upper factor U of the inverse Gram, `[width, cols]`.
    pub u: &'a Tensor,
    /// First column of the block.
    pub first: usize,
    /// Who survives.
    pub survivors: Survivors<'a>,
    /// `[rows, cols]`; the block's columns are pruned in place.
    pub v: &'a Tensor,
    /// `[rows, cols]`; the block's columns get 1 where a weight is kept, else 0.
    pub support: &'a Tensor,
    /// `[rows, width]`: `err_j = (v_j − q_j) / U_jj`, so that the columns after the block lose `err U[block, after]`.
    pub err: &'a Tensor,
}

/// Records a sweep. Panics on other shapes, a block wider than [`OBS_COLS`], or groups that do not fit it.
pub fn obs_sweep(recording: &mut Recording, call: &ObsSweep<'_>) {
    let [rows, cols] = call.v.shape();
    let (width, first) = (call.u.rows(), call.first);
    assert!(width <= OBS_COLS, "obs_sweep: a block of {width} columns");
    assert!(first + width <= cols, "obs_sweep: columns {first} + {width} of {cols}");
    assert!(
        call.u.cols() == cols && call.support.shape() == [rows, cols] && call.err.shape() == [rows, width],
        "obs_sweep: shapes"
    );
    let (allowed, [keep, group], allowed_first, allowed_cols) = match call.survivors {
        Survivors::Given(mask) => (mask, [1, 1], 0, width),
        Survivors::Nm { free, n, m } => (free, [n, m], first, cols),
    };
    assert!(1 <= keep && keep <= group, "obs_sweep: {keep}:{group}");
    assert!(
        width.is_multiple_of(group) && first.is_multiple_of(group),
        "obs_sweep: columns {first} + {width} in groups of {group}"
    );
    assert_eq!(allowed.shape(), [rows, allowed_cols], "obs_sweep: shape of the mask");
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        first: first as u32,
        width: width as u32,
        keep: keep as u32,
        group: group as u32,
        allowed_first: allowed_first as u32,
        allowed_cols: allowed_cols as u32,
    };
    let bindings = [call.u, allowed, call.v, call.support, call.err].map(Tensor::slice);
    let work = Workload::rows(rows.div_ceil(ROWS), (rows * width * width) as f64);
    recording.dispatch(&KERNEL, &[], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let (rows, cols, first, width) = (p.rows as usize, p.cols as usize, p.first as usize, p.width as usize);
    let ([u, allowed], [v, support, err]) = call.split::<2, 3>();
    let (u, allowed) = (f32s(u), f32s(allowed));
    let block = twin::ColumnBlock {
        u,
        cols,
        first,
        keep: p.keep as usize,
        group: p.group as usize,
    };
    f32s_mut(&mut v[..rows * cols])
        .par_chunks_mut(cols)
        .zip(f32s_mut(&mut support[..rows * cols]).par_chunks_mut(cols))
        .zip(f32s_mut(&mut err[..rows * width]).par_chunks_mut(width))
        .enumerate()
        .for_each(|(row, ((v, support), err))| {
            let allowed = &allowed[row * p.allowed_cols as usize + p.allowed_first as usize..][..width];
            let at = first..first + width;
            twin::obs_sweep_row(&block, allowed, &mut v[at.clone()], &mut support[at], err);
        });
}
