//! First residual of the masked conjugate gradient.

use num_traits::Float;

use crate::reference::dense::gemv::dot;

/// Share of the squares of b and vh that a residual of theirs cannot fall below by more than rounding.
const FLOOR: f64 = 1e-16;
/// Squares below underflow.
const LEAST: f64 = 1e-34;

/// One row: `r = (b - vh) ∘ support`, `p = r`; returns `|r|²` (64 strided sums, then pairwise) and the floor below which
/// it is rounding, `1e-16 (|b|² + |vh|²) + 1e-34` on the support.
pub fn cg_begin_row<T: Float>(vh: &[T], b: &[T], support: &[T], r: &mut [T], p: &mut [T]) -> [T; 2] {
    for j in 0..r.len() {
        r[j] = if support[j] == T::zero() {
            T::zero()
        } else {
            b[j] - vh[j]
        };
        p[j] = r[j];
    }
    let constant = |value: f64| T::from(value).expect("a number of either type");
    let free = b.iter().zip(vh).zip(support).filter(|(_, s)| **s != T::zero());
    let terms = free.fold(T::zero(), |sum, ((b, vh), _)| sum + *b * *b + *vh * *vh);
    [dot(r, r), constant(FLOOR) * terms + constant(LEAST)]
}
