//! Weights of one decoder layer on the device.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::family::{Norm, NormKind, Role};
use super::linear_spec::{LinearId, LinearSpec};
use super::{ModelError, Spec, Weight};
use crate::checkpoint::{Checkpoint, TensorView};
use crate::gpu::Gpu;
use crate::tensor::{DType, Tensor};

/// What changes the weights of a checkpoint on their way to the device.
pub trait Amend: Sync {
    /// A linear's weight `[outputs, inputs]` in f32 on the device, from the values of the checkpoint.
    fn weight(&self, gpu: &Gpu, place: (usize, LinearId), values: &[f32]) -> Result<Tensor, ModelError>;
}

/// A norm's weight and, for layer norms, its bias; rows.
#[derive(Clone)]
pub(super) struct NormWeights {
    pub(super) weight: Tensor,
    pub(super) bias: Option<Tensor>,
}

/// A linear of the forward pass.
#[derive(Clone)]
pub(super) struct Linear {
    pub(super) weight: Weight,
    pub(super) bias: Option<Tensor>,
}

/// Norms and linears of one decoder layer. Cloning shares the memory, so a pruned copy costs only what it replaces.
#[derive(Clone)]
pub struct LayerWeights {
    /// The decoder layer.
    pub layer: usize,
    pub(super) norms: BTreeMap<Norm, NormWeights>,
    pub(super) linears: BTreeMap<LinearId, Linear>,
    pub(super) router: Option<Weight>,
}

impl LayerWeights {
    /// Uploads layer `layer`. Fails on a non-finite weight, naming it.
    pub fn load(gpu: &Gpu, checkpoint: &Checkpoint, spec: &Spec, layer: usize) -> Result<Self, ModelError> {
        Self::load_amended(gpu, (checkpoint, spec), layer, None)
    }

    /// The same, with the weights of linears that `amend` makes of those of the checkpoint.
    pub(super) fn load_amended(
        gpu: &Gpu,
        (checkpoint, spec): (&Checkpoint, &Spec),
        layer: usize,
        amend: Option<&dyn Amend>,
    ) -> Result<Self, ModelError> {
        let mut weights = LayerWeights {
            layer,
            norms: BTreeMap::new(),
            linears: BTreeMap::new(),
            router: None,
        };
        for norm in spec.norms() {
            let loaded = NormWeights::load(
                gpu,
                checkpoint,
                spec,
                &spec.norm_module(layer, norm),
                spec.norm_width(norm),
            )?;
            weights.norms.insert(norm, loaded);
        }
        for linear in spec.linears_of(layer)? {
            let view = checkpoint.tensor_of_shape(&linear.tensor, &linear.stored_shape())?;
            finite(&view)?;
            let rows = linear.rows(view.bytes, view.dtype);
            match amend {
                None => weights.put(gpu, &linear, view.dtype, &rows)?,
                Some(amend) => weights.put_amended(gpu, &linear, (view.dtype, &rows), amend)?,
            }
            checkpoint.release(&linear.tensor);
            if let Some(name) = &linear.bias {
                let bias = row(checkpoint, name, linear.shape[0])?;
                weights.put_bias(gpu, &linear, &bias)?;
            }
        }
        if let (Some(name), Some(experts)) = (spec.router(layer), spec.experts) {
            let shape = [experts.count, spec.hidden];
            let view = checkpoint.tensor_of_shape(&name, &shape)?;
            finite(&view)?;
            weights.router = Some(Weight::upload(gpu, &name, shape, view.dtype, view.bytes)?);
        }
        Ok(weights)
    }

    /// Frees the linears for which `gone` holds; the layer runs without them as far as it needs none.
    pub fn forget(&mut self, gone: impl Fn(&LinearId) -> bool) {
        self.linears.retain(|id, _| !gone(id));
    }

    /// The weight of a linear that is one of the forward pass, `[outputs, inputs]` of any element type, where the device
    /// keeps it so.
    pub fn whole(&self, linear: &LinearSpec) -> Option<Tensor> {
        let id = linear.whole()?;
        self.linears.get(&id)?.weight.as_stored()
    }

    /// Puts a weight that is on the device already in place of such a linear's. Panics if the linear is several.
    pub fn put_whole(&mut self, gpu: &Gpu, linear: &LinearSpec, stored: Tensor) -> Result<(), ModelError> {
        let id = linear.whole().expect("a linear that is one of the forward pass");
        let bias = self.linears.get(&id).and_then(|l| l.bias.clone());
        let weight = Weight::of(gpu, stored)?;
        self.linears.insert(id, Linear { weight, bias });
        Ok(())
    }

    /// Puts another weight in place of a linear's: `[outputs, inputs]` elements of a stored type.
    pub fn put(&mut self, gpu: &Gpu, linear: &LinearSpec, dtype: DType, rows: &[u8]) -> Result<(), ModelError> {
        let width = linear.shape[1] * dtype.size();
        for part in &linear.parts {
            let bytes = LinearSpec::part(part, rows, width);
            let shape = [bytes.len() / width, linear.shape[1]];
            let weight = Weight::upload(gpu, &linear.tensor, shape, dtype, &bytes)?;
            let bias = self.linears.get(&linear.id_of(part)).and_then(|l| l.bias.clone());
            self.linears.insert(linear.id_of(part), Linear { weight, bias });
        }
        Ok(())
    }

    fn put_amended(
        &mut self,
        gpu: &Gpu,
        linear: &LinearSpec,
        (dtype, rows): (DType, &[u8]),
        amend: &dyn Amend,
    ) -> Result<(), ModelError> {
        for part in &linear.parts {
            let values = dtype.decode(&LinearSpec::part(part, rows, linear.shape[1] * dtype.size()));
            let id = linear.id_of(part);
            let weight = Weight::of(gpu, amend.weight(gpu, (self.layer, id), &values)?)?;
            self.linears.insert(id, Linear { weight, bias: None });
        }
        Ok(())
    }

    fn put_bias(&mut self, gpu: &Gpu, linear: &LinearSpec, bias: &[f32]) -> Result<(), ModelError> {
        for part in &linear.parts {
            let values: Vec<f32> = part.rows.iter().flat_map(|r| &bias[r.clone()]).copied().collect();
            let tensor = Tensor::upload(gpu, "bias", 1, values.len(), &values)?;
            let stored = self.linears.get_mut(&linear.id_of(part));
            stored.expect("the weight was put first").bias = Some(tensor);
        }
        Ok(())
    }

    pub(super) fn linear(&self, role: Role, expert: Option<usize>) -> &Linear {
        &self.linears[&LinearId { role, expert }]
    }

    pub(super) fn gated(&self, expert: Option<usize>) -> bool {
        self.linears.contains_key(&LinearId {
            role: Role::Gate,
            expert,
        })
    }
}

impl NormWeights {
    pub(super) fn load(
        gpu: &Gpu,
        checkpoint: &Checkpoint,
        spec: &Spec,
        module: &str,
        width: usize,
    ) -> Result<Self, ModelError> {
        let mut tensors = spec.norm_tensors(module).into_iter();
        let name = tensors.next().expect("a norm has a weight");
        let mut weight = row(checkpoint, &name, width)?;
        for value in &mut weight {
            *value += spec.norm_offset;
        }
        let bias = match tensors.next() {
            None => None,
            Some(name) => Some(Tensor::upload(gpu, &name, 1, width, &row(checkpoint, &name, width)?)?),
        };
        debug_assert_eq!(bias.is_some(), spec.norm == NormKind::Layer);
        Ok(NormWeights {
            weight: Tensor::upload(gpu, &name, 1, width, &weight)?,
            bias,
        })
    }
}

/// A finite vector of the checkpoint.
fn row(checkpoint: &Checkpoint, name: &str, width: usize) -> Result<Vec<f32>, ModelError> {
    let view = checkpoint.tensor_of_shape(name, &[width])?;
    finite(&view)?;
    Ok(view.to_f32())
}

/// Fails if a value is NaN or infinite; checked on the bits, in pieces.
pub(crate) fn finite(view: &TensorView<'_>) -> Result<(), ModelError> {
    finite_from(view, 0, view.bytes)
}

/// As [`finite`] for `bytes`, a part of the tensor that begins at element `first`.
pub(super) fn finite_from(view: &TensorView<'_>, first: usize, bytes: &[u8]) -> Result<(), ModelError> {
    const PIECE: usize = 1 << 16;
    let size = view.dtype.size();
    let pieces = bytes.par_chunks(PIECE * size).enumerate();
    let found = pieces.find_map_first(|(piece, bytes)| {
        let infinite = view.dtype.first_not_finite(bytes)?;
        Some((piece * PIECE + infinite, view.dtype.decode(bytes)[infinite]))
    });
    match found {
        None => Ok(()),
        Some((element, value)) => Err(ModelError::NonFiniteWeight {
            file: view.file.display().to_string(),
            tensor: view.name.to_string(),
            element: first + element,
            value,
        }),
    }
}
