//! Copy of an array.

/// `out = x`.
pub fn copy<T: Copy>(x: &[T], out: &mut [T]) {
    out.copy_from_slice(x);
}
