//! Sum of the parts of a matrix, added to a total.

use num_traits::Float;

/// `total += Σ parts` for matrices of `cols` columns, `parts` being as many of them one behind the other as it holds; they
/// are added up first. With `upper` what is below the diagonal stays as it is.
pub fn sum_parts<T: Float>(cols: usize, parts: &[T], upper: bool, total: &mut [T]) {
    let elements = total.len();
    for (i, total) in total.iter_mut().enumerate() {
        if !upper || i % cols >= i / cols {
            let part = parts.iter().skip(i).step_by(elements);
            *total = *total + part.fold(T::zero(), |sum, part| sum + *part);
        }
    }
}
