//! Layer norm of each row.

use num_traits::Float;

/// Running sums per row: sixteen, so that a compiler can keep them in vectors and f32 rounds less.
const SUMS: usize = 16;

/// Mean of `term(x)`: sums columns of equal remainder modulo `SUMS` in ascending order, then those sums in order.
#[inline(always)]
pub(super) fn mean<T: Float>(x: &[T], term: impl Fn(T) -> T) -> T {
    let mut sums = [T::zero(); SUMS];
    for part in x.chunks(SUMS) {
        for (sum, value) in sums.iter_mut().zip(part) {
            *sum = *sum + term(*value);
        }
    }
    let count = T::from(x.len()).expect("a row length is a number");
    sums.into_iter().fold(T::zero(), |a, b| a + b) / count
}

/// `out = (x - mean) / sqrt(var + eps) * weight + bias`, rows as long as `weight`. The variance is that of differences
/// from a first mean, whose own rounding error is then taken off.
pub fn layer_norm<T: Float>(x: &[T], weight: &[T], bias: &[T], eps: T, out: &mut [T]) {
    let cols = weight.len();
    for (x, out) in x.chunks(cols).zip(out.chunks_mut(cols)) {
        let first = mean(x, |x| x);
        let rest = mean(x, |x| x - first);
        let variance = mean(x, |x| (x - first) * (x - first)) - rest * rest;
        let factor = T::one() / (variance.max(T::zero()) + eps).sqrt();
        let affine = weight.iter().zip(bias);
        for ((out, x), (weight, bias)) in out.iter_mut().zip(x).zip(affine) {
            *out = (*x - first - rest) * factor * *weight + *bias;
        }
    }
}
