//! First residual of the masked conjugate gradient.

use num_traits::Float;

/// One row: `r = (b - vh) ∘ support`, `p = r`; returns `|r|²` (64 strided sums, then pairwise).
pub fn cg_begin_row<T: Float>(vh: &[T], b: &[T], support: &[T], r: &mut [T], p: &mut [T]) -> T {
    for j in 0..r.len() {
        r[j] = if support[j] == T::zero() {
            T::zero()
        } else {
            b[j] - vh[j]
        };
        p[j] = r[j];
    }
    crate::reference::dense::gemv::dot(r, r)
}
