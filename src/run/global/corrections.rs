//! Low-rank corrections of every linear of a model, on the host, and the file that keeps them.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};

use crate::checkpoint::{CheckpointError, Replacement};
use crate::gpu::Gpu;
use crate::model::{Amend, LinearId, ModelError, Spec};
use crate::prune::{AdamStep, LowRank, LowRankGradient};
use crate::run::RunError;
use crate::run::curvature::piece::pieces;
use crate::tensor::Tensor;

/// Where the file has the losses of the steps so far.
const LOSSES: &str = "losses";

/// Something of every linear of a layer.
pub(in crate::run) type OfLayer<T> = BTreeMap<LinearId, T>;

/// Corrections of a whole checkpoint.
pub(in crate::run) struct Corrections {
    pub(in crate::run) layers: Vec<OfLayer<LowRank>>,
}

impl Corrections {
    /// Without effect yet.
    pub(in crate::run) fn new(spec: &Spec, rank: usize, seed: u64) -> Result<Self, RunError> {
        let mut number = 0;
        let layer = |layer| {
            let mut all = BTreeMap::new();
            for piece in pieces(&spec.linears_of(layer)?) {
                number += 1;
                all.insert(piece.id, LowRank::new(piece.shape(), rank, seed + number));
            }
            Ok(all)
        };
        let layers = (0..spec.layers).map(layer).collect::<Result<_, RunError>>()?;
        Ok(Corrections { layers })
    }

    /// Moves all of them; a linear without a gradient, an expert no token came to, stays.
    pub(in crate::run) fn step(&mut self, gradients: &BTreeMap<(usize, LinearId), LowRankGradient>, step: AdamStep) {
        for ((layer, id), gradient) in gradients {
            let correction = self.layers[*layer].get_mut(id);
            correction.expect("a linear of the layer").step(gradient, step);
        }
    }
}

impl Amend for Corrections {
    fn weight(&self, gpu: &Gpu, (layer, id): (usize, LinearId), values: &[f32]) -> Result<Tensor, ModelError> {
        Ok(self.layers[layer][&id].corrected(gpu, values)?)
    }
}

/// Names of what a correction holds, in the order of [`LowRank::parts`].
const PARTS: [&str; 6] = ["a", "a.mean", "a.square", "b", "b.mean", "b.square"];

fn name(layer: usize, id: LinearId, part: &str) -> String {
    let expert = id.expert.map_or(String::new(), |expert| format!(".{expert}"));
    format!("{layer}.{}{expert}.{part}", id.role.name())
}

impl Corrections {
    /// Keeps everything, with the losses of the steps that led here, where they had one; the file is replaced as a whole.
    pub(in crate::run) fn save(&self, path: &Path, losses: &[Option<f64>]) -> Result<(), RunError> {
        let mut tensors = Vec::new();
        for (layer, linears) in self.layers.iter().enumerate() {
            for (id, correction) in linears {
                for (part, values) in PARTS.iter().zip(correction.parts()) {
                    let view = TensorView::new(Dtype::F32, vec![values.len()], bytemuck::cast_slice(values));
                    tensors.push((name(layer, *id, part), view.expect("sizes are ours")));
                }
            }
        }
        let losses = serde_json::to_string(losses).expect("numbers");
        let about = HashMap::from([(LOSSES.to_string(), losses)]);
        let bytes = serialize(tensors, Some(about)).expect("plain tensors");
        let failed = |error| CheckpointError::write(path, bytes.len() as u64, error);
        Ok(Replacement::write(path, &bytes).map_err(failed)?)
    }

    /// Takes up what [`Corrections::save`] kept; `None`, and nothing has changed, if it kept nothing.
    pub(in crate::run) fn load(&mut self, path: &Path) -> Result<Option<Vec<Option<f64>>>, RunError> {
        let failed = |error| CheckpointError::io(path, "read", error);
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(failed)?,
        };
        let wrong = |what: &str| failed(std::io::Error::new(ErrorKind::InvalidData, what.to_string()));
        let damaged = |error| wrong(&format!("{error}"));
        let tensors = SafeTensors::deserialize(&bytes).map_err(damaged)?;
        let (_, about) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let losses = about.metadata().as_ref().and_then(|about| about.get(LOSSES));
        let losses = losses.and_then(|text| serde_json::from_str(text).ok());
        let losses: Vec<Option<f64>> = losses.ok_or_else(|| wrong("it has no losses"))?;
        for (layer, linears) in self.layers.iter_mut().enumerate() {
            for (id, correction) in linears {
                for (part, values) in PARTS.iter().zip(correction.parts_mut()) {
                    let name = name(layer, *id, part);
                    let stored = tensors.tensor(&name).map_err(damaged)?;
                    if stored.data().len() != 4 * values.len() {
                        return Err(wrong(&format!("`{name}` has another size")).into());
                    }
                    bytemuck::cast_slice_mut(values).copy_from_slice(stored.data());
                }
            }
        }
        Ok(Some(losses))
    }
}
