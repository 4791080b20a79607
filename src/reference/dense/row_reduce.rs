//! Reductions of rows.

use num_traits::Float;

use super::gemv::pairwise;

/// One row to one number: `mode` 0 is `a · b`, 1 the number of nonzeros of a, 2 the sum of `|a|`.
pub fn row_reduce<T: Float>(mode: u32, a: &[T], b: &[T]) -> T {
    pairwise(a.len(), |i| match mode {
        0 => a[i] * b[i],
        1 if a[i] != T::zero() => T::one(),
        1 => T::zero(),
        _ => a[i].abs(),
    })
}
