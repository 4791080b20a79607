//! Half-steps towards the Kronecker product `G ⊗ A` nearest to the mean of `(g gᵀ) ⊗ (x xᵀ)` over the tokens: power iteration
//! on the rearranged matrix (Van Loan and Pitsianis 1993), as LLM Surgeon takes it (van der Ouderaa et al. 2024, section 3.2).
//!
//! With A given, the least squares solution is `G = mean((xᵀ A x) g gᵀ) / ‖A‖²`, and likewise `A = mean((gᵀ G g) x xᵀ) / ‖G‖²`.
//! Where linears share their inputs and so A, it is the solution for all of them: both sums go over the linears. So every half-step
//! brings the products nearer.

use super::curvature::{norm, vector};
use crate::gpu::{Gpu, GpuError, Recording};
use crate::linalg;
use crate::ops::dense::{self, RowReduce};
use crate::tensor::{PanelMatrix, Tensor};

/// What [`add_weighted`] multiplies with for a factor of outputs, from the raw sums `Σ x xᵀ` over `tokens`: then the sum over
/// the tokens it ran over is their number times the factor.
pub fn output_scale(gpu: &Gpu, inputs: &PanelMatrix, tokens: usize) -> Result<f32, GpuError> {
    let square = norm(gpu, inputs)?.powi(2);
    Ok(reciprocal(square / tokens.max(1) as f64))
}

/// What [`add_weighted`] multiplies with for a factor of inputs, for each linear that reads them, from its `Σ g gᵀ` and number
/// of tokens.
pub fn input_scales(gpu: &Gpu, outputs: &[(&PanelMatrix, usize)]) -> Result<Vec<f32>, GpuError> {
    let mut squares = 0.0;
    for (matrix, tokens) in outputs {
        squares += (norm(gpu, matrix)? / (*tokens).max(1) as f64).powi(2);
    }
    let scale = |(_, tokens): &(_, usize)| reciprocal(squares * (*tokens).max(1) as f64);
    Ok(outputs.iter().map(scale).collect())
}

/// Where there is no energy nothing is added.
fn reciprocal(value: f64) -> f32 {
    match value > 0.0 {
        true => (1.0 / value) as f32,
        false => 0.0,
    }
}

/// Records `sum += scale Σ (yᵀ F y) z zᵀ` over the rows of `weighing` y, `[rows, p]`, and of `summed` z, `[rows, n]`; F is raw
/// sums `[p, p]`, complete. Complete the sum after the last batch by [`linalg::finish`].
pub fn add_weighted(
    recording: &mut Recording,
    gpu: &Gpu,
    [weighing, summed]: [&Tensor; 2],
    (factor, scale): (&PanelMatrix, f32),
    sum: &PanelMatrix,
) -> Result<(), GpuError> {
    let rows = weighing.rows();
    let product = Tensor::empty(gpu, "weighed rows", rows, weighing.cols())?;
    linalg::multiply(recording, gpu, scale, weighing, factor, &product);
    let weights = Tensor::empty(gpu, "weights of rows", 1, rows)?;
    dense::row_reduce(recording, RowReduce::Dot, &product, weighing, &weights);
    let scaled = Tensor::empty(gpu, "weighted rows", rows, summed.cols())?;
    recording.copy(&summed.slice(), &scaled.slice());
    let ones = vector(gpu, "ones", (0..summed.cols()).map(|_| 1.0))?;
    dense::scale(recording, &scaled, &weights, &ones);
    linalg::accumulate(recording, gpu, &scaled, summed, sum, true);
    Ok(())
}
