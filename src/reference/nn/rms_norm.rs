//! Root-mean-square norm of each row.

use num_traits::Float;

/// Running sums per row: sixteen, so that a compiler can keep them in vectors and f32 rounds less.
const SUMS: usize = 16;

/// `out = x / sqrt(mean(x²) + eps) * weight`, rows as long as `weight`. Sums columns of equal remainder modulo
/// `SUMS` in ascending order, then those sums in order.
pub fn rms_norm<T: Float>(x: &[T], weight: &[T], eps: T, out: &mut [T]) {
    let cols = weight.len();
    let count = T::from(cols).expect("a row length is a number");
    for (x, out) in x.chunks(cols).zip(out.chunks_mut(cols)) {
        let mut sums = [T::zero(); SUMS];
        for part in x.chunks(SUMS) {
            for (sum, value) in sums.iter_mut().zip(part) {
                *sum = *sum + *value * *value;
            }
        }
        let sum = sums.into_iter().fold(T::zero(), |a, b| a + b);
        let factor = T::one() / (sum / count + eps).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = *x * factor * *weight;
        }
    }
}
