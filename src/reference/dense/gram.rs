//! Gram and cross-Gram of a chunk of tokens, added to a running total.

use num_traits::Float;

use super::gemm::{Target, View, gemm, gemm_fast};

/// `total[rows, cols] += aᵀ b` where a and b hold one token per row: the chunk is summed from zero, then added.
/// With `upper` what is below the diagonal stays as it is.
pub fn gram<T: Float>(shape: [usize; 3], a: View<'_, T>, b: View<'_, T>, upper: bool, total: &mut [T]) {
    let [tokens, rows, cols] = shape;
    let mut chunk = vec![T::zero(); rows * cols];
    let target = Target {
        start: 0,
        stride: cols,
        alpha: T::one(),
        beta: T::zero(),
    };
    gemm([rows, cols, tokens], a.transpose(), b, target, &mut chunk);
    for r in 0..rows {
        for c in 0..cols {
            if !upper || c >= r {
                total[r * cols + c] = total[r * cols + c] + chunk[r * cols + c];
            }
        }
    }
}

/// The same in f32 on a GEMM crate, for some rows of the total. `[tokens, cols] = shape`.
pub fn gram_fast(
    shape: [usize; 2],
    rows: std::ops::Range<usize>,
    a: View<'_, f32>,
    b: View<'_, f32>,
    upper: bool,
    total: &mut [f32],
) {
    /// Rows of the total per product: small enough to skip nearly half, large enough for a fast product.
    const BLOCK: usize = 192;
    let [tokens, cols] = shape;
    let mut corner = Vec::new();
    for row in rows.clone().step_by(BLOCK) {
        let height = BLOCK.min(rows.end - row);
        let left = a.columns(row).transpose();
        let mut first = 0;
        if upper {
            first = (row + height).min(cols);
            let width = first.saturating_sub(row);
            corner.resize(height * width, 0.0);
            let target = Target {
                start: 0,
                stride: width,
                alpha: 1.0,
                beta: 0.0,
            };
            gemm_fast([height, width, tokens], left, b.columns(row), target, &mut corner);
            add_triangle(width, &corner, &mut total[row * cols..], [row, cols]);
        }
        let target = Target {
            start: row * cols + first,
            stride: cols,
            alpha: 1.0,
            beta: 1.0,
        };
        gemm_fast([height, cols - first, tokens], left, b.columns(first), target, total);
    }
}

/// Adds the upper triangle of a block of `width` columns to the columns from `first` of the rows of a wider matrix.
fn add_triangle(width: usize, block: &[f32], rows: &mut [f32], [first, cols]: [usize; 2]) {
    for (i, block) in block.chunks(width.max(1)).enumerate() {
        let line = &mut rows[i * cols + first..][..width];
        for (sum, value) in line.iter_mut().zip(block).skip(i) {
            *sum += value;
        }
    }
}
