//! SparseGPT's sweep over one block of columns.

use num_traits::Float;

/// What all rows share.
#[derive(Clone, Copy)]
pub struct ColumnBlock<'a, T> {
    /// The block's rows of U, each `cols` long.
    pub u: &'a [T],
    /// Columns of U.
    pub cols: usize,
    /// First column of the block.
    pub first: usize,
    /// Kept of a group.
    pub keep: usize,
    /// Columns that choose together; 1: all allowed ones are kept.
    pub group: usize,
}

/// One row of a block: `v` ends with zeros where nothing is kept, `err` holds `(v_j − q_j) / U_jj`.
pub fn obs_sweep_row<T: Float>(
    block: &ColumnBlock<'_, T>,
    allowed: &[T],
    v: &mut [T],
    support: &mut [T],
    err: &mut [T],
) {
    let width = v.len();
    for j in 0..width {
        if j % block.group == 0 {
            choose(block, j, allowed, v, support);
        }
        let row = &block.u[j * block.cols + block.first..][..width];
        err[j] = T::zero();
        if support[j] == T::zero() {
            err[j] = v[j] / row[j];
            for k in j + 1..width {
                v[k] = v[k] - err[j] * row[k];
            }
        }
    }
    for (v, kept) in v.iter_mut().zip(support) {
        if *kept == T::zero() {
            *v = T::zero();
        }
    }
}

/// Support of the group of columns from `start`: the largest `|v_j / U_jj|` of the allowed ones, ties by lower index.
fn choose<T: Float>(block: &ColumnBlock<'_, T>, start: usize, allowed: &[T], v: &[T], support: &mut [T]) {
    let group = start..start + block.group;
    let score = |j: usize| (v[j] / block.u[j * block.cols + block.first + j]).abs();
    for j in group.clone() {
        let beats = |i: usize| allowed[i] != T::zero() && (score(i) > score(j) || (score(i) == score(j) && i < j));
        let better = group.clone().filter(|i| beats(*i)).count();
        let kept = allowed[j] != T::zero() && (block.group == 1 || better < block.keep);
        support[j] = if kept { T::one() } else { T::zero() };
    }
}
