//! Sum of two scaled arrays.

use num_traits::Float;

/// `y = alpha x + beta y`; with beta 0 the old y is not read.
pub fn axpby<T: Float>(alpha: T, x: &[T], beta: T, y: &mut [T]) {
    for (x, y) in x.iter().zip(y) {
        let old = if beta == T::zero() { T::zero() } else { beta * *y };
        *y = alpha * *x + old;
    }
}
