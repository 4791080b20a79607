//! Products with one left operand.

use num_traits::Float;

use super::gemm::{Stored, Target, View, gemm, gemm_fast};

fn whole<T: Float>(cols: usize) -> Target<T> {
    Target {
        start: 0,
        stride: cols,
        alpha: T::one(),
        beta: T::zero(),
    }
}

/// `a b` for each b and its number of columns; a is `[rows, inner]`.
pub fn gemm_grouped<T: Float>([rows, inner]: [usize; 2], a: &[T], parts: &[(View<'_, T>, usize)]) -> Vec<Vec<T>> {
    let product = |(b, cols): &(View<'_, T>, usize)| {
        let mut out = vec![T::zero(); rows * cols];
        gemm(
            [rows, *cols, inner],
            View::row_major(a, inner),
            *b,
            whole(*cols),
            &mut out,
        );
        out
    };
    parts.iter().map(product).collect()
}

/// One of them, `[rows, cols, inner]`, in f32 on a GEMM crate and all cores.
pub fn gemm_part_fast([rows, cols, inner]: [usize; 3], a: &[f32], b: Stored<'_>, out: &mut [f32]) {
    let a = View::row_major(a, inner);
    b.view(inner, cols, |b| {
        gemm_fast([rows, cols, inner], a, b, whole(cols), out);
    });
}
