//! One step of the masked conjugate gradient.

use num_traits::Float;

use crate::reference::dense::gemv::dot;

/// What one row of a step reads.
#[derive(Clone, Copy)]
pub struct Row<'a, T> {
    /// `p H`, unmasked.
    pub ph: &'a [T],
    /// 0: not a variable.
    pub support: &'a [T],
}

/// One row; p is zero off the support. Nothing happens when `rs` is not above its floor or the curvature is not positive.
pub fn cg_step_row<T: Float>(row: Row<'_, T>, v: &mut [T], r: &mut [T], p: &mut [T], rs: &mut T, floor: T) {
    let curvature = dot(p, row.ph);
    if !(*rs > floor && curvature > T::zero()) {
        return;
    }
    let alpha = *rs / curvature;
    for j in 0..v.len() {
        v[j] = v[j] + alpha * p[j];
        if row.support[j] != T::zero() {
            r[j] = r[j] - alpha * row.ph[j];
        }
    }
    let next = dot(r, r);
    for j in 0..v.len() {
        p[j] = r[j] + next / *rs * p[j];
    }
    *rs = next;
}
