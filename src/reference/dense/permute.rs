//! Rows and columns of a square matrix in another order.

/// `out[i, j] = x[order[first + i] - from, order[j]]` for the rows of `out` `[.., n]` found in `x`, whose first row is
/// `from`; others stay as they are.
pub fn permute<T: Copy>(order: &[u32], [first, from]: [usize; 2], x: &[T], out: &mut [T]) {
    let n = order.len();
    for (i, row) in out.chunks_exact_mut(n).enumerate() {
        let Some(source) = (order[first + i] as usize)
            .checked_sub(from)
            .filter(|s| s * n < x.len())
        else {
            continue;
        };
        for (value, column) in row.iter_mut().zip(order) {
            *value = x[source * n + *column as usize];
        }
    }
}
