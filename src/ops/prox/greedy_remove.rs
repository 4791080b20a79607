//! `prox/greedy_remove`: the weights of one block of columns that cost least together, found one by one.

use rayon::prelude::*;

use super::OBS_COLS;
use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::prox::greedy_remove as twin;
use crate::tensor::Tensor;

/// Rows of a workgroup (`ROWS` in the shader).
const ROWS: usize = 4;

params! {
    /// Sizes.
    struct Params {
        /// Rows.
        rows: u32,
        /// Columns of the whole matrix.
        cols: u32,
        /// First column of the block.
        first: u32,
        /// Columns of the block.
        width: u32,
        /// Weights of a row to remove.
        count: u32,
        /// Padding.
        pad0: u32,
        /// Padding.
        pad1: u32,
        /// Padding.
        pad2: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "prox/greedy_remove",
    source: include_str!("../../../shaders/prox/greedy_remove.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 3,
    writes: 1,
    host,
};

/// Records the removal of `count` weights of every row in the columns `first ..` of a block: one by one the cheapest beside
/// those removed before, ties by lower index. `gram`: rows `first ..` of G, `[width, cols]`; w, `before`,
/// `removed`: `[rows, cols]`, of which the block's columns count. `before` is what is removed outside the block times G;
/// `removed` gets w where it is removed, else 0. Panics on other shapes, a block wider than [`OBS_COLS`], or
/// more to remove than there is.
pub fn greedy_remove(
    recording: &mut Recording,
    [gram, w, before]: [&Tensor; 3],
    first: usize,
    count: usize,
    removed: &Tensor,
) {
    let [rows, cols] = w.shape();
    let width = gram.rows();
    assert!(width <= OBS_COLS, "greedy_remove: a block of {width} columns");
    assert!(
        first + width <= cols,
        "greedy_remove: columns {first} + {width} of {cols}"
    );
    assert!(count <= width, "greedy_remove: {count} of {width} columns");
    assert!(
        gram.cols() == cols && before.shape() == w.shape() && removed.shape() == w.shape(),
        "greedy_remove: shapes"
    );
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        first: first as u32,
        width: width as u32,
        count: count as u32,
        pad0: 0,
        pad1: 0,
        pad2: 0,
    };
    let bindings = [gram, w, before, removed].map(Tensor::slice);
    let work = Workload::rows(rows.div_ceil(ROWS), (4 * rows * width * count) as f64);
    recording.dispatch(&KERNEL, &[], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let (rows, cols, first, width) = (p.rows as usize, p.cols as usize, p.first as usize, p.width as usize);
    let ([gram, w, before], [removed]) = call.split::<3, 1>();
    let (gram, w, before) = (f32s(gram), f32s(w), f32s(before));
    let block = twin::InverseBlock {
        gram,
        cols,
        first,
        count: p.count as usize,
    };
    let removed = f32s_mut(&mut removed[..rows * cols]).par_chunks_mut(cols);
    removed.enumerate().for_each(|(row, removed)| {
        let at = row * cols + first..row * cols + first + width;
        let removed = &mut removed[first..first + width];
        twin::greedy_remove_row(&block, &w[at.clone()], &before[at], removed);
    });
}
