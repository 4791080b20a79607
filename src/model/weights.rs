//! Weights of one decoder layer on the device.

use std::collections::BTreeMap;

use super::{ModelError, Role, Spec, Weight};
use crate::checkpoint::{Checkpoint, TensorView};
use crate::gpu::Gpu;
use crate::tensor::{DType, Tensor};

/// Norms and linears of one decoder layer. Cloning shares the memory, so a pruned copy costs only what it replaces.
#[derive(Clone)]
pub struct LayerWeights {
    pub(super) attention_norm: Tensor,
    pub(super) mlp_norm: Tensor,
    pub(super) linears: BTreeMap<Role, Weight>,
}

impl LayerWeights {
    /// Uploads layer `layer`. Fails on a non-finite weight, naming it.
    pub fn load(gpu: &Gpu, checkpoint: &Checkpoint, spec: &Spec, layer: usize) -> Result<Self, ModelError> {
        let mut linears = BTreeMap::new();
        for role in Role::ALL {
            let name = spec.linear(layer, role);
            let view = checkpoint.tensor_of_shape(&name, &spec.shape(role))?;
            finite(&view)?;
            linears.insert(
                role,
                Weight::upload(gpu, &name, spec.shape(role), view.dtype, view.bytes)?,
            );
        }
        Ok(LayerWeights {
            attention_norm: vector(gpu, checkpoint, &spec.attention_norm(layer), spec.hidden)?,
            mlp_norm: vector(gpu, checkpoint, &spec.mlp_norm(layer), spec.hidden)?,
            linears,
        })
    }

    /// Puts another weight in place of a linear's, given as it will be stored.
    pub fn replace(
        &mut self,
        gpu: &Gpu,
        role: Role,
        shape: [usize; 2],
        dtype: DType,
        bytes: &[u8],
    ) -> Result<(), ModelError> {
        self.linears
            .insert(role, Weight::upload(gpu, "pruned weight", shape, dtype, bytes)?);
        Ok(())
    }
}

/// A norm's weight as an f32 row.
pub(super) fn vector(gpu: &Gpu, checkpoint: &Checkpoint, name: &str, width: usize) -> Result<Tensor, ModelError> {
    let view = checkpoint.tensor_of_shape(name, &[width])?;
    finite(&view)?;
    Ok(Tensor::upload(gpu, name, 1, width, &view.dtype.decode(view.bytes))?)
}

/// Fails if a value is NaN or infinite; checked on the bits, in pieces.
pub(super) fn finite(view: &TensorView<'_>) -> Result<(), ModelError> {
    const PIECE: usize = 1 << 16;
    let size = view.dtype.size();
    for (piece, bytes) in view.bytes.chunks(PIECE * size).enumerate() {
        let values = view.dtype.decode(bytes);
        if let Some(i) = values.iter().position(|v| !v.is_finite()) {
            return Err(ModelError::NonFiniteWeight {
                file: view.file.display().to_string(),
                tensor: view.name.to_string(),
                element: piece * PIECE + i,
                value: values[i],
            });
        }
    }
    Ok(())
}
