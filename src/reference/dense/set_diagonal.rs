//! Writes the diagonal of a panel of rows.

/// `x[i, first + i] = values[first + i]` where x is `[rows, cols]`.
pub fn set_diagonal<T: Copy>([rows, cols]: [usize; 2], first: usize, values: &[T], x: &mut [T]) {
    for i in 0..rows {
        x[i * cols + first + i] = values[first + i];
    }
}
