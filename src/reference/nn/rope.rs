//! Rotary position embedding.

use num_traits::Float;

/// Rotates one row of heads in place: dimension i of a head is paired with `i + rotary / 2`, and `angles` holds the
/// `rotary / 2` cosines, then the sines, of this row's position.
pub fn rope<T: Float>(head_dim: usize, angles: &[T], row: &mut [T]) {
    let half = angles.len() / 2;
    let (cosines, sines) = angles.split_at(half);
    for head in row.chunks_mut(head_dim) {
        let (left, right) = head.split_at_mut(half);
        for i in 0..half {
            let (l, r) = (left[i], right[i]);
            left[i] = l * cosines[i] - r * sines[i];
            right[i] = r * cosines[i] + l * sines[i];
        }
    }
}

/// The inverse rotation, and the gradient of [`rope`]: that of its output becomes that of its input, in place.
pub fn rope_backward<T: Float>(head_dim: usize, angles: &[T], row: &mut [T]) {
    let half = angles.len() / 2;
    let (cosines, sines) = angles.split_at(half);
    for head in row.chunks_mut(head_dim) {
        let (left, right) = head.split_at_mut(half);
        for i in 0..half {
            let (l, r) = (left[i], right[i]);
            left[i] = l * cosines[i] + r * sines[i];
            right[i] = r * cosines[i] - l * sines[i];
        }
    }
}
