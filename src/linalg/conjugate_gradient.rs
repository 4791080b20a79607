//! Row-wise conjugate gradients on a fixed support.

use super::multiply;
use crate::gpu::{Gpu, GpuError, Recording};
use crate::ops::prox;
use crate::tensor::{PanelMatrix, Tensor};

/// Records `steps` steps towards the minimiser, for every row of v on its own support, of `1/2 v H vᵀ - b vᵀ`, starting
/// from v. v, b, support: `[m, n]`. The objective never rises; rows whose residual is down to rounding
/// rest.
pub fn masked_conjugate_gradient(
    recording: &mut Recording,
    gpu: &Gpu,
    matrix: &PanelMatrix,
    b: &Tensor,
    support: &Tensor,
    v: &Tensor,
    steps: usize,
) -> Result<(), GpuError> {
    let [rows, cols] = v.shape();
    let product = Tensor::empty(gpu, "cg product", rows, cols)?;
    let residual = Tensor::empty(gpu, "cg residual", rows, cols)?;
    let direction = Tensor::empty(gpu, "cg direction", rows, cols)?;
    let norms = Tensor::empty(gpu, "cg norms and their floors", 2, rows)?;
    multiply(recording, gpu, 1.0, v, matrix, &product);
    prox::cg_begin(recording, &product, b, support, &residual, &direction, &norms);
    for _ in 0..steps {
        multiply(recording, gpu, 1.0, &direction, matrix, &product);
        prox::cg_step(recording, &product, support, v, &residual, &direction, &norms);
    }
    Ok(())
}
