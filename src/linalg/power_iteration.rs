//! Largest eigenvalue of a symmetric positive semi-definite matrix.

use crate::gpu::{Gpu, GpuError, Recording};
use crate::ops::dense;
use crate::tensor::{PanelMatrix, Tensor};

/// Result of a power iteration.
#[derive(Clone, Copy, Debug)]
pub struct Eigenvalue {
    /// Rayleigh quotient of the last vector: a lower bound of the largest eigenvalue.
    pub rayleigh: f64,
    /// Norm of the residual: some eigenvalue lies within it of the quotient.
    pub residual: f64,
}

impl Eigenvalue {
    /// A step-size constant: the quotient plus the residual.
    pub fn upper(&self) -> f64 {
        self.rayleigh + self.residual
    }
}

/// `steps` products from a fixed pseudo-random start; reads four numbers back.
pub fn largest_eigenvalue(gpu: &Gpu, matrix: &PanelMatrix, steps: usize) -> Result<Eigenvalue, GpuError> {
    let n = matrix.n();
    // Golden-ratio sequence: no symmetry that could be orthogonal to the leading vector.
    let start: Vec<f32> = (0..n)
        .map(|i| 0.5 + ((i as f64 + 1.0) * 0.618_033_988_749_895).fract() as f32)
        .collect();
    let norm = start.iter().map(|v| v * v).sum::<f32>().sqrt();
    let start: Vec<f32> = start.iter().map(|v| v / norm).collect();
    let x = Tensor::upload(gpu, "eigenvector", 1, n, &start)?;
    let y = Tensor::empty(gpu, "matrix times eigenvector", 1, n)?;
    let state = Tensor::empty(gpu, "eigenvalue", 1, 4)?;
    let mut recording = Recording::new();
    for _ in 0..steps {
        for (first, panel) in matrix.panels() {
            dense::gemv(&mut recording, panel, &x, first, &y);
        }
        dense::power_step(&mut recording, &y, &x, &state);
    }
    let id = recording.read(&state.slice());
    let state = gpu.submit(recording)?.floats(id)?;
    Ok(Eigenvalue {
        rayleigh: f64::from(state[0]),
        residual: f64::from(state[2]),
    })
}
