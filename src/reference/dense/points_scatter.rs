//! Values with a factor, to scattered places of a matrix.

use num_traits::Float;

/// `x[places[i] - offset] = scale[i] * values[i]` for the places found in `x`.
pub fn points_scatter<T: Float>(places: &[u32], scale: &[T], values: &[T], offset: usize, x: &mut [T]) {
    for ((value, scale), place) in values.iter().zip(scale).zip(places) {
        if let Some(x) = (*place as usize).checked_sub(offset).and_then(|at| x.get_mut(at)) {
            *x = *scale * *value;
        }
    }
}
