//! Sums over a matrix: by rows on the device, of these on the host, in f64.

use crate::gpu::{Gpu, GpuError, ReadId, Recording, Submission};
use crate::ops::dense::{self, RowReduce};
use crate::tensor::Tensor;

/// Records `Σ a b` as row sums.
pub(super) fn dot(recording: &mut Recording, gpu: &Gpu, a: &Tensor, b: &Tensor) -> Result<ReadId, GpuError> {
    let sums = Tensor::empty(gpu, "row sums", 1, a.rows())?;
    dense::row_reduce(recording, RowReduce::Dot, a, b, &sums);
    Ok(recording.read(&sums.slice()))
}

/// Total of row sums, in f64.
pub(super) fn sum(done: &Submission, id: ReadId) -> Result<f64, GpuError> {
    Ok(done.floats(id)?.iter().map(|v| f64::from(*v)).sum())
}
