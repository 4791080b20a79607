//! A square matrix cut into row panels, so that no binding is larger than the device allows.

use std::ops::Range;

use crate::gpu::{Gpu, GpuError, Recording};

use super::Tensor;

/// Panels are cut between blocks of this many rows, so that a blocked factorisation finds each block in one panel.
pub const PANEL_ROWS: usize = 64;

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

    /// A matrix of the same size with undefined contents.
    pub fn empty_like(&self, gpu: &Gpu, label: &str) -> Result<Self, GpuError> {
        let panels = self.panels.iter().map(|p| Tensor::empty(gpu, label, p.rows(), self.n));
        Ok(PanelMatrix {
            panels: panels.collect::<Result<_, _>>()?,
            ..*self
        })
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

    /// Records a copy of `count` rows from `first` on: a window would have to lie in one panel, and start where the device
    /// allows.
    pub fn copied_rows(
        &self,
        recording: &mut Recording,
        gpu: &Gpu,
        label: &str,
        [first, count]: [usize; 2],
    ) -> Result<Tensor, GpuError> {
        let out = Tensor::empty(gpu, label, count, self.n)?;
        for (top, panel) in self.panels() {
            let (from, to) = (first.max(top), (first + count).min(top + panel.rows()));
            if from < to {
                let (source, target) = (
                    panel.row_window(from - top, to - from),
                    out.row_window(from - first, to - from),
                );
                recording.copy(&source.slice(), &target.slice());
            }
        }
        Ok(out)
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
    let height = (fitting as usize).clamp(1, n.max(1));
    if height < n && height > PANEL_ROWS {
        return height - height % PANEL_ROWS;
    }
    height
}
