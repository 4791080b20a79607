//! Scattered elements of a matrix, each with a factor.

use num_traits::Float;

/// `out[i] = scale[i] * x[places[i] - offset]` for the places found in `x`; others stay as they are.
pub fn points_gather<T: Float>(places: &[u32], scale: &[T], offset: usize, x: &[T], out: &mut [T]) {
    for ((out, scale), place) in out.iter_mut().zip(scale).zip(places) {
        if let Some(x) = (*place as usize).checked_sub(offset).and_then(|at| x.get(at)) {
            *out = *scale * *x;
        }
    }
}
