//! Gradient of the root-mean-square norm of each row.

use num_traits::Float;

/// Running sums per row: sixteen, so that a compiler can keep them in vectors and f32 rounds less.
const SUMS: usize = 16;

/// `dx = f (dy w - x f² mean(dy w x))` with `f = 1 / sqrt(mean(x²) + eps)`, rows as long as `weight`: what a gradient `dy`
/// of the norm's output means for its input. Sums columns of equal remainder modulo `SUMS`, then those sums in order.
pub fn rms_norm_backward<T: Float>(x: &[T], weight: &[T], eps: T, dy: &[T], dx: &mut [T]) {
    let cols = weight.len();
    let count = T::from(cols).expect("a row length is a number");
    let rows = x.chunks(cols).zip(dy.chunks(cols)).zip(dx.chunks_mut(cols));
    for ((x, dy), dx) in rows {
        let (mut squares, mut pulls) = ([T::zero(); SUMS], [T::zero(); SUMS]);
        let parts = x.chunks(SUMS).zip(dy.chunks(SUMS)).zip(weight.chunks(SUMS));
        for ((x, dy), weight) in parts {
            let sums = squares.iter_mut().zip(&mut pulls);
            for (((square, pull), x), (dy, weight)) in sums.zip(x).zip(dy.iter().zip(weight)) {
                *square = *square + *x * *x;
                *pull = *pull + *dy * *weight * *x;
            }
        }
        let total = |sums: [T; SUMS]| sums.into_iter().fold(T::zero(), |a, b| a + b) / count;
        let factor = T::one() / (total(squares) + eps).sqrt();
        let pull = total(pulls) * factor * factor;
        for (((dx, x), dy), weight) in dx.iter_mut().zip(x).zip(dy).zip(weight) {
            *dx = factor * (*dy * *weight - *x * pull);
        }
    }
}
