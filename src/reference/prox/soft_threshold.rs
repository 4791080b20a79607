//! The proximal map of the L1 norm.

use num_traits::Float;

/// `sign(v) max(|v| - threshold, 0)`, written so that zeros are positive and NaN stays NaN.
pub fn soft<T: Float>(v: T, threshold: T) -> T {
    if v > threshold {
        v - threshold
    } else if v < -threshold {
        v + threshold
    } else {
        // 0 for numbers, NaN for NaN.
        v - v
    }
}

/// `out = soft(x, threshold)`.
pub fn soft_threshold<T: Float>(threshold: T, x: &[T], out: &mut [T]) {
    for (x, out) in x.iter().zip(out) {
        *out = soft(*x, threshold);
    }
}
