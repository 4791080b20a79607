//! Grams as panels: accumulation over batches of tokens, and products with them.

use crate::gpu::{Gpu, GpuError, Recording};
use crate::ops::dense::{self, Gemm, GramPart, Layout};
use crate::tensor::{PanelMatrix, Tensor};

/// `total += xᵀ y` for one batch; x and y are `[tokens, n]`. With `x` and `y` the same tensor only the upper triangle of
/// a single-panel total is computed, and [`finish`] completes it.
pub fn accumulate(recording: &mut Recording, gpu: &Gpu, x: &Tensor, y: &Tensor, total: &PanelMatrix, symmetric: bool) {
    let upper = symmetric && total.whole().is_some();
    for (first, panel) in total.panels() {
        dense::gram_chunk(
            recording,
            gpu,
            &GramPart {
                a: x,
                a_col: first,
                b: y,
                total: panel,
                upper,
            },
        );
    }
}

/// Completes a symmetric total after the last batch.
pub fn finish(recording: &mut Recording, total: &PanelMatrix) {
    if let Some(whole) = total.whole() {
        dense::mirror(recording, whole, 1.0);
    }
}

/// `out = alpha v M` for v `[m, n]`.
pub fn multiply(recording: &mut Recording, gpu: &Gpu, alpha: f32, v: &Tensor, matrix: &PanelMatrix, out: &Tensor) {
    for (first, panel) in matrix.panels() {
        let beta = if first == 0 { 0.0 } else { 1.0 };
        dense::gemm(
            recording,
            gpu,
            &Gemm {
                a_col: first,
                alpha,
                beta,
                ..Gemm::new(v, panel, Layout::NN, out)
            },
        );
    }
}

/// `out = M x` for x `[n, k]`.
pub fn multiply_left(
    recording: &mut Recording,
    gpu: &Gpu,
    matrix: &PanelMatrix,
    x: &Tensor,
    out: &Tensor,
) -> Result<(), GpuError> {
    if let Some(whole) = matrix.whole() {
        dense::gemm(recording, gpu, &Gemm::new(whole, x, Layout::NN, out));
        return Ok(());
    }
    for (first, panel) in matrix.panels() {
        // By way of a copy: a window of out may start where the device binds nothing.
        let part = Tensor::empty(gpu, "rows of a product", panel.rows(), x.cols())?;
        dense::gemm(recording, gpu, &Gemm::new(panel, x, Layout::NN, &part));
        recording.copy(&part.slice(), &out.row_window(first, panel.rows()).slice());
    }
    Ok(())
}
