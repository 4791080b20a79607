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
    let mut kept = Vec::new();
    for row in rows.clone().step_by(BLOCK) {
        let height = BLOCK.min(rows.end - row);
        let first = if upper { row.min(cols) } else { 0 };
        let target = Target {
            start: row * cols + first,
            stride: cols,
            alpha: 1.0,
            beta: 1.0,
        };
        // Products are of rectangles: what lies below the diagonal in this one is put back after it.
        let below = |i: usize| {
            let start = (row + i) * cols + first;
            start..start + if upper { i.min(cols - first) } else { 0 }
        };
        kept.clear();
        (0..height).for_each(|i| kept.extend_from_slice(&total[below(i)]));
        let (left, right) = (a.columns(row).transpose(), b.columns(first));
        gemm_fast([height, cols - first, tokens], left, right, target, total);
        let mut rest = &kept[..];
        for i in 0..height {
            let (line, after) = rest.split_at(below(i).len());
            total[below(i)].copy_from_slice(line);
            rest = after;
        }
    }
}
