//! A square matrix cut into row panels, so that no binding is larger than the device allows.

use std::ops::Range;

use crate::gpu::{Gpu, GpuError, Recording};

use super::Tensor;

/// A square f32 matrix `[n, n]` as panels `[height, n]` of its rows, each in its own buffer. One panel in the usual case.
#[derive(Clone)]
pub struct PanelMatrix {
    panels: Vec<Tensor>,
    height: usize,
    n: usize,
}

impl PanelMatrix {
    /// A matrix of zeros; the fill is recorded.
    pub fn zeros(gpu: &Gpu, recording: &mut Recording, label: &str, n: usize) -> Result<Self, GpuError> {
        let height = panel_height(gpu, n);
        let panels = (0..n)
            .step_by(height)
            .map(|first| Tensor::zeros(gpu, recording, label, height.min(n - first), n))
            .collect::<Result<_, _>>()?;
        Ok(PanelMatrix { panels, height, n })
    }

    /// A matrix whose panels come from the host one by one: `rows` gives the values of a range of rows.
    pub fn upload<E: From<GpuError>>(
        gpu: &Gpu,
        label: &str,
        n: usize,
        mut rows: impl FnMut(Range<usize>) -> Result<Vec<f32>, E>,
    ) -> Result<Self, E> {
        let height = panel_height(gpu, n);
        let mut panels = Vec::new();
        for first in (0..n).step_by(height) {
            let range = first..(first + height).min(n);
            let values = rows(range.clone())?;
            panels.push(Tensor::upload(gpu, label, range.len(), n, &values)?);
        }
        Ok(PanelMatrix { panels, height, n })
    }

    /// Rows and columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// First row and memory of each panel.
    pub fn panels(&self) -> impl Iterator<Item = (usize, &Tensor)> {
        self.panels.iter().enumerate().map(|(i, p)| (i * self.height, p))
    }

    /// The whole matrix if it is one panel.
    pub fn whole(&self) -> Option<&Tensor> {
        if self.panels.len() == 1 {
            self.panels.first()
        } else {
            None
        }
    }
}

/// Rows of a panel of a matrix `[n, n]`: all, unless the device binds less.
fn panel_height(gpu: &Gpu, n: usize) -> usize {
    let fitting = gpu.limits().binding.min(gpu.limits().buffer) / (4 * n.max(1) as u64);
    (fitting as usize).clamp(1, n.max(1))
}
