//! Inverse Cholesky factor of a small block.

use num_traits::Float;

/// What went wrong with pivots: how many failed, and the row of the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failed {
    /// Pivots not above the floor, each replaced by 1.
    pub count: usize,
    /// Row of the first of them.
    pub first: Option<usize>,
}

/// `inverse = L^-1` for `a = L Lᵀ`, all `[size, size]` row-major; only the lower triangle of a is read.
pub fn cholesky_block<T: Float>(size: usize, a: &[T], floor: T, inverse: &mut [T]) -> Failed {
    let mut l = vec![T::zero(); size * size];
    let mut failed = Failed::default();
    for j in 0..size {
        for i in j..size {
            let mut sum = a[i * size + j];
            for k in 0..j {
                sum = sum - l[i * size + k] * l[j * size + k];
            }
            l[i * size + j] = if i > j {
                sum / l[j * size + j]
            } else if sum > floor {
                sum.sqrt()
            } else {
                failed.count += 1;
                failed.first = failed.first.or(Some(j));
                T::one()
            };
        }
    }
    for j in 0..size {
        for i in 0..size {
            let mut value = if i == j { T::one() } else { T::zero() };
            for k in j..i {
                value = value - l[i * size + k] * inverse[k * size + j];
            }
            inverse[i * size + j] = if i < j { T::zero() } else { value / l[i * size + i] };
        }
    }
    failed
}
