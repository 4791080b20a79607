//! Weighted rows added to chosen rows of a matrix.

use num_traits::Float;

/// `out += weight * x` for one row.
pub fn add_weighted<T: Float>(weight: T, x: &[T], out: &mut [T]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = *out + weight * *x;
    }
}

/// `out[rows[i], :] += weights[i] * x[i, :]`, rows `cols` long; numbers of rows beyond `out` are skipped.
pub fn scatter_rows<T: Float>(rows: &[u32], weights: &[T], x: &[T], cols: usize, out: &mut [T]) {
    for ((row, weight), x) in rows.iter().zip(weights).zip(x.chunks(cols)) {
        if let Some(out) = out.chunks_mut(cols).nth(*row as usize) {
            add_weighted(*weight, x, out);
        }
    }
}
