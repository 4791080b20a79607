//! The product as first written down.

use num_traits::Float;

/// `out = a b` for a `[rows, inner]` and b `[inner, cols]`, one element after the other, k ascending.
pub fn gemm_naive<T: Float>(inner: usize, cols: usize, a: &[T], b: &[T], out: &mut [T]) {
    for (i, out) in out.iter_mut().enumerate() {
        let (row, col) = (i / cols, i % cols);
        *out = (0..inner).fold(T::zero(), |sum, k| sum + a[row * inner + k] * b[k * cols + col]);
    }
}
