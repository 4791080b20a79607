//! Scattered rows and columns of a Kronecker product.

use num_traits::Float;

/// Rows of one factor.
pub struct Rows<'a, T> {
    /// Row-major.
    pub values: &'a [T],
    /// Columns.
    pub cols: usize,
    /// Row of the factor where they start.
    pub first: usize,
}

/// `row[j] = scale[q] scale[j] g[r_q, r_j] a[c_q, c_j]` for one `q`, a place being `r * a.cols + c`; the row stays as it is
/// if `a` does not hold row `c_q`.
pub fn kron_gather<T: Float>(places: &[u32], scale: &[T], q: usize, [g, a]: [&Rows<'_, T>; 2], row: &mut [T]) {
    let split = |place: u32| (place as usize / a.cols, place as usize % a.cols);
    let (r, c) = split(places[q]);
    let Some(at) = c.checked_sub(a.first).filter(|c| c * a.cols < a.values.len()) else {
        return;
    };
    let (g_row, a_row) = (&g.values[(r - g.first) * g.cols..], &a.values[at * a.cols..]);
    for ((out, place), s) in row.iter_mut().zip(places).zip(scale) {
        let (r, c) = split(*place);
        *out = scale[q] * *s * (g_row[r] * a_row[c]);
    }
}
