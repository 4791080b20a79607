//! Elementwise product.

use num_traits::Float;

/// `y = x * y`.
pub fn multiply<T: Float>(x: &[T], y: &mut [T]) {
    for (x, y) in x.iter().zip(y) {
        *y = *x * *y;
    }
}
