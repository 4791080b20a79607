//! The next batch on its way to the device while the device is busy with the one before.

use super::Activations;
use crate::gpu::Gpu;
use crate::model::ModelError;
use crate::tensor::Tensor;

/// One batch that was uploaded early.
///
/// The host executor is never busy while its caller is not: there nothing is uploaded early, and no memory spent on it.
#[derive(Default)]
pub struct Ahead(Option<(usize, Tensor)>);

impl Ahead {
    /// A batch, `[rows, hidden]` f32; uploaded now unless it was before.
    pub fn take(&mut self, gpu: &Gpu, activations: &Activations, batch: usize) -> Result<Tensor, ModelError> {
        match self.0.take() {
            Some((early, tensor)) if early == batch => Ok(tensor),
            _ => activations.upload(gpu, batch),
        }
    }

    /// Uploads a batch, if there is one, for a later [`Ahead::take`]. Call it between a submission and the wait for it.
    pub fn fetch(&mut self, gpu: &Gpu, activations: &Activations, batch: usize) -> Result<(), ModelError> {
        if batch < activations.batches() && !gpu.is_host() {
            self.0 = Some((batch, activations.upload(gpu, batch)?));
        }
        Ok(())
    }
}
