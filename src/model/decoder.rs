//! The stack of decoder layers, run one layer at a time over all sequences: only that layer is on the device.

use super::weights::finite;
use super::{Block, LayerWeights, ModelError, Spec, Tap};
use crate::checkpoint::Checkpoint;
use crate::gpu::{Gpu, Recording};
use crate::ops::nn;
use crate::tensor::Tensor;

/// Rows of activations that go through a layer at once: enough for a fast product, few enough for a small GPU.
const BATCH_ROWS: usize = 2048;
/// Bytes of the embedding (or head) on the device at once.
pub(super) const VOCABULARY_BYTES: usize = 16 << 20;

/// Residual streams of all sequences, kept in host memory between layers: `[batch rows, hidden]` per batch.
#[derive(Clone)]
pub struct Activations {
    /// Batches of whole sequences, row-major.
    pub batches: Vec<Vec<f32>>,
    /// Tokens per sequence.
    pub sequence: usize,
    /// Width of a row.
    pub hidden: usize,
}

impl Activations {
    /// Tokens in all.
    pub fn tokens(&self) -> usize {
        self.batches.iter().map(Vec::len).sum::<usize>() / self.hidden
    }

    /// One batch on the device, `[rows, hidden]`.
    pub fn upload(&self, gpu: &Gpu, batch: usize) -> Result<Tensor, ModelError> {
        let values = &self.batches[batch];
        Ok(Tensor::upload(
            gpu,
            "residual stream",
            values.len() / self.hidden,
            self.hidden,
            values,
        )?)
    }

    /// Sequences per batch for sequences of `sequence` tokens.
    pub fn sequences_per_batch(sequence: usize) -> usize {
        (BATCH_ROWS / sequence.max(1)).max(1)
    }
}

/// A checkpoint that can be run.
pub struct Decoder<'a> {
    /// Device.
    pub gpu: &'a Gpu,
    /// Where the weights are.
    pub checkpoint: &'a Checkpoint,
    /// Sizes and names.
    pub spec: &'a Spec,
    rope: Tensor,
}

impl<'a> Decoder<'a> {
    /// Prepares to run sequences of at most `sequence` tokens.
    pub fn new(gpu: &'a Gpu, checkpoint: &'a Checkpoint, spec: &'a Spec, sequence: usize) -> Result<Self, ModelError> {
        let rope = Tensor::upload(gpu, "rotary table", sequence, spec.head_dim, &spec.rope.table(sequence))?;
        Ok(Decoder {
            gpu,
            checkpoint,
            spec,
            rope,
        })
    }

    /// Weights of one decoder layer.
    pub fn layer(&self, layer: usize) -> Result<LayerWeights, ModelError> {
        LayerWeights::load(self.gpu, self.checkpoint, self.spec, layer)
    }

    /// A layer's forward pass with the given weights.
    pub fn block<'b>(&'b self, weights: &'b LayerWeights) -> Block<'b> {
        Block {
            spec: self.spec,
            weights,
            rope: &self.rope,
        }
    }

    /// Embeds sequences of equal length. The table passes through the device in windows; windows without any of the
    /// ids are skipped.
    pub fn embed(&self, ids: &[Vec<u32>]) -> Result<Activations, ModelError> {
        let (spec, gpu) = (self.spec, self.gpu);
        let sequence = ids.first().map_or(1, Vec::len);
        if let Some(id) = ids.iter().flatten().find(|id| **id as usize >= spec.vocabulary) {
            return Err(ModelError::TokenOutOfRange {
                id: *id,
                vocabulary: spec.vocabulary,
            });
        }
        let view = self
            .checkpoint
            .tensor_of_shape(spec.embedding(), &[spec.vocabulary, spec.hidden])?;
        let row = spec.hidden * view.dtype.size();
        let window = even(VOCABULARY_BYTES.min(binding(gpu)) / row);
        let batches: Vec<Vec<u32>> = ids
            .chunks(Activations::sequences_per_batch(sequence))
            .map(|c| c.concat())
            .collect();
        let mut out: Vec<Vec<f32>> = batches.iter().map(|b| vec![0.0; b.len() * spec.hidden]).collect();
        for first in (0..spec.vocabulary).step_by(window) {
            let rows = window.min(spec.vocabulary - first);
            let inside = |id: &u32| (first..first + rows).contains(&(*id as usize));
            if !batches.iter().flatten().any(inside) {
                continue;
            }
            let bytes = &view.bytes[first * row..(first + rows) * row];
            let table = Tensor::upload_stored(gpu, "embedding window", [rows, spec.hidden], view.dtype, bytes)?;
            for (batch, values) in batches.iter().zip(&mut out).filter(|(b, _)| b.iter().any(inside)) {
                let ids = gpu.upload("token ids", bytemuck::cast_slice(batch))?;
                let x = Tensor::upload(gpu, "embedded", batch.len(), spec.hidden, values)?;
                let mut recording = Recording::new();
                nn::embed(&mut recording, &ids.slice(), &table, first, &x);
                let id = recording.read(&x.slice());
                *values = gpu.submit(recording)?.floats(id)?;
            }
        }
        // The rows in use are checked, not the whole table: it can be larger than memory.
        for values in &out {
            if let Some(element) = values.iter().position(|v| !v.is_finite()) {
                finite(&view)?;
                unreachable!("element {element} was read from a finite embedding");
            }
        }
        self.checkpoint.release_all();
        Ok(Activations {
            batches: out,
            sequence,
            hidden: spec.hidden,
        })
    }

    /// Replaces every batch by the layer's output.
    pub fn advance(&self, activations: &mut Activations, weights: &LayerWeights) -> Result<(), ModelError> {
        let block = self.block(weights);
        for batch in 0..activations.batches.len() {
            let x = activations.upload(self.gpu, batch)?;
            let mut recording = Recording::new();
            let y = block.forward_to(&mut recording, self.gpu, &x, activations.sequence, Tap::Output)?;
            let id = recording.read(&y.slice());
            activations.batches[batch] = self.gpu.submit(recording)?.floats(id)?;
        }
        Ok(())
    }

    /// Runs all layers; `progress` hears of each layer done.
    pub fn run(&self, ids: &[Vec<u32>], mut progress: impl FnMut(usize)) -> Result<Activations, ModelError> {
        let mut activations = self.embed(ids)?;
        for layer in 0..self.spec.layers {
            let weights = self.layer(layer)?;
            self.advance(&mut activations, &weights)?;
            self.checkpoint.release_all();
            progress(layer + 1);
        }
        Ok(activations)
    }
}

/// Bytes a binding may span.
pub(super) fn binding(gpu: &Gpu) -> usize {
    usize::try_from(gpu.limits().binding).unwrap_or(usize::MAX)
}

/// Window starts stay on whole words for two-byte types.
pub(super) fn even(rows: usize) -> usize {
    (rows / 2 * 2).max(2)
}
