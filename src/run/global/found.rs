//! What a search has found for every linear of the forward pass, in files beside the factors: scaled weights, and which of
//! them stay.

use std::fs;
use std::path::{Path, PathBuf};

use crate::checkpoint::CheckpointError;
use crate::gpu::{Gpu, Recording};
use crate::prune::surgeon::{Curvature, MetricProblem};
use crate::run::RunError;
use crate::tensor::Tensor;

/// A folder with one file a linear; gone when dropped.
pub(in crate::run) struct SolutionStore {
    folder: PathBuf,
}

impl SolutionStore {
    /// Empty, made anew.
    pub(in crate::run) fn create(folder: PathBuf) -> Result<Self, CheckpointError> {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|e| CheckpointError::write(&folder, 0, e))?;
        Ok(SolutionStore { folder })
    }

    fn file(&self, number: usize) -> PathBuf {
        self.folder.join(format!("linear-{number}.bin"))
    }

    /// Saves a scaled weight and, if it is final, its support.
    pub(in crate::run) fn put(
        &self,
        gpu: &Gpu,
        number: usize,
        (weight, support): (&Tensor, Option<&Tensor>),
    ) -> Result<(), RunError> {
        let mut values = weight.fetch(gpu)?;
        if let Some(support) = support {
            values.extend(support.fetch(gpu)?);
        }
        let path = self.file(number);
        fs::write(&path, bytemuck::cast_slice::<f32, u8>(&values)).map_err(|e| CheckpointError::write(&path, 0, e))?;
        Ok(())
    }

    /// The scaled weight of a linear of this shape.
    pub(in crate::run) fn weight(
        &self,
        gpu: &Gpu,
        number: usize,
        [rows, cols]: [usize; 2],
    ) -> Result<Tensor, RunError> {
        let values = self.values(number)?;
        Ok(Tensor::upload(gpu, "found", rows, cols, &values[..rows * cols])?)
    }

    /// Puts what was found in place of a weight; its support.
    pub(in crate::run) fn take(
        &self,
        gpu: &Gpu,
        number: usize,
        (curvature, weight): (&Curvature, &Tensor),
    ) -> Result<Tensor, RunError> {
        let [rows, cols] = weight.shape();
        let values = self.values(number)?;
        let (found, support) = values.split_at(rows * cols);
        let support = Tensor::upload(gpu, "support", rows, cols, support)?;
        let scaled = Tensor::upload(gpu, "found", rows, cols, found)?;
        MetricProblem::new(gpu, curvature, weight)?.leave(gpu, &scaled)?;
        let mut recording = Recording::new();
        recording.copy(&scaled.slice(), &weight.slice());
        gpu.submit(recording)?;
        Ok(support)
    }

    fn values(&self, number: usize) -> Result<Vec<f32>, RunError> {
        let path = self.file(number);
        let bytes = fs::read(&path).map_err(|e| CheckpointError::io(Path::new(&path), "read", e))?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }
}

impl Drop for SolutionStore {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
