//! Matrix times vector.

use num_traits::Float;

/// `a · b` in the order of the kernel: 64 strided sums, then pairwise.
pub fn dot<T: Float>(a: &[T], b: &[T]) -> T {
    pairwise(a.len(), |i| a[i] * b[i])
}

/// Sum of `term(0 .. n)`: `LANES` strided sums, then pairwise.
pub fn pairwise<T: Float>(n: usize, term: impl Fn(usize) -> T) -> T {
    /// Invocations of a workgroup of the kernel.
    const LANES: usize = 64;
    let mut sums = [T::zero(); LANES];
    for start in (0..n).step_by(LANES) {
        for (lane, sum) in sums.iter_mut().enumerate().take(n - start) {
            *sum = *sum + term(start + lane);
        }
    }
    let mut span = LANES / 2;
    while span > 0 {
        for i in 0..span {
            sums[i] = sums[i] + sums[i + span];
        }
        span /= 2;
    }
    sums[0]
}

/// `y[first + i] = matrix[i, :] · x`.
pub fn gemv<T: Float>(matrix: &[T], x: &[T], first: usize, y: &mut [T]) {
    for (row, y) in matrix.chunks(x.len()).zip(&mut y[first..]) {
        *y = dot(row, x);
    }
}
