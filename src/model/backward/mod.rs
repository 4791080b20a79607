//! The backward pass: gradients of every linear's output, layer by layer from the last.
//!
//! Nothing but the streams that enter the layers is kept from the forward pass; a layer recomputes the rest. So memory is
//! one layer plus the streams, which [`Trace`] keeps like any [`Activations`]: in memory up to a budget, in a file beyond
//! it. Start reading at [`Decoder::backward`], then [`DecoderLayer::backward`](super::DecoderLayer::backward).

mod block;
mod experts;
mod head;
mod norms;
mod sample;

pub use block::{LinearGradient, Visit};
pub use head::LossGradient;

use super::{ActivationOptions, Activations, Decoder, LayerWeights, ModelError};
use crate::gpu::Recording;
use crate::tensor::Tensor;

/// Hears of every linear of every layer: the layer, a recording to add to, and the linear's input and gradient.
pub type LayerVisit<'a> = dyn FnMut(usize, &mut Recording, LinearGradient<'_>) -> Result<(), ModelError> + 'a;

/// What a forward pass leaves for a backward pass.
pub struct Trace {
    /// The stream that enters each layer.
    pub entering: Vec<Activations>,
    /// The stream that leaves the last.
    pub leaving: Activations,
}

impl Decoder<'_> {
    /// Runs all layers and keeps the streams between them. `options.ram_budget` is for all streams together, those of the
    /// backward pass included.
    pub fn trace(&self, ids: &[Vec<u32>], options: &ActivationOptions) -> Result<Trace, ModelError> {
        Ok(self.trace_while(ids, options, |_| true)?.expect("nothing stops it"))
    }

    /// The same; after each layer, of which it tells the number done, it asks whether to go on. `None` if it was not to.
    pub fn trace_while(
        &self,
        ids: &[Vec<u32>],
        options: &ActivationOptions,
        mut go_on: impl FnMut(usize) -> bool,
    ) -> Result<Option<Trace>, ModelError> {
        let layers = self.spec.layers;
        // Two more streams: the one that leaves, and the gradient.
        let share = options.ram_budget.map(|budget| budget / (layers as u64 + 2));
        let options = ActivationOptions {
            ram_budget: share,
            ..options.clone()
        };
        let mut leaving = self.embed_with(ids, &options)?;
        let mut entering = Vec::with_capacity(layers);
        for layer in 0..layers {
            let weights = self.layer(layer)?;
            let block = self.block(&weights);
            let next = self.map(&leaving, |recording, x| block.forward(recording, &x))?;
            entering.push(std::mem::replace(&mut leaving, next));
            self.checkpoint.release_all();
            if !go_on(layer + 1) {
                return Ok(None);
            }
        }
        Ok(Some(Trace { entering, leaving }))
    }

    /// Takes a loss's gradient back through one layer, a batch at a time: `loss.stream`, the gradient of what leaves the
    /// layer, becomes that of what enters it, `entering`. `visit` hears of each linear once per batch (an expert's where it
    /// has tokens), without the skipped sequences, and what it records is played before the next batch begins.
    pub fn layer_backward(
        &self,
        weights: &LayerWeights,
        entering: &Activations,
        loss: &mut LossGradient,
        visit: &mut Visit<'_>,
    ) -> Result<(), ModelError> {
        assert_eq!(entering.tokens(), loss.stream.tokens(), "layer_backward: tokens");
        assert_eq!(
            entering.per_batch(),
            loss.stream.per_batch(),
            "layer_backward: sequences per batch"
        );
        let block = self.block(weights);
        for batch in 0..entering.batches() {
            let kept = loss.kept(batch);
            if !kept.contains(&true) {
                continue;
            }
            let x = self.upload_kept(entering, batch, &kept)?;
            let dy = self.upload_kept(&loss.stream, batch, &kept)?;
            let mut recording = Recording::new();
            let dx = block.backward(&mut recording, &x, &dy, visit)?;
            let id = recording.read(&dx.slice());
            let found = self.gpu.submit(recording)?.floats(id)?;
            let mut found = found.chunks(entering.sequence * entering.hidden);
            let mut values = vec![0.0; entering.rows(batch) * entering.hidden];
            let sequences = values.chunks_mut(entering.sequence * entering.hidden);
            for (to, _) in sequences.zip(&kept).filter(|(_, kept)| **kept) {
                to.copy_from_slice(found.next().expect("as many sequences as were kept"));
            }
            loss.stream.write(batch, &values)?;
        }
        Ok(())
    }

    /// The sequences of a batch that are kept, on the device.
    fn upload_kept(&self, streams: &Activations, batch: usize, kept: &[bool]) -> Result<Tensor, ModelError> {
        if !kept.contains(&false) {
            return streams.upload(self.gpu, batch);
        }
        let values = streams.read(batch)?;
        let sequences = values.chunks(streams.sequence * streams.hidden).zip(kept);
        let values: Vec<f32> = sequences
            .filter(|(_, kept)| **kept)
            .flat_map(|(v, _)| v)
            .copied()
            .collect();
        let rows = values.len() / streams.hidden;
        Ok(Tensor::upload(
            self.gpu,
            "kept sequences",
            rows,
            streams.hidden,
            &values,
        )?)
    }

    /// Forward and backward pass of the mean next-token loss of each sequence, one layer on the device at a time. `visit`
    /// hears of the last layer first; see [`Decoder::layer_backward`]. Returns the losses and the gradient of the stream
    /// that enters the first layer.
    pub fn backward(
        &self,
        ids: &[Vec<u32>],
        options: &ActivationOptions,
        visit: &mut LayerVisit<'_>,
    ) -> Result<LossGradient, ModelError> {
        let Trace { mut entering, leaving } = self.trace(ids, options)?;
        let mut loss = self.loss_gradient(&leaving, &next_tokens(ids))?;
        drop(leaving);
        while let Some(stream) = entering.pop() {
            let layer = entering.len();
            let weights = self.layer(layer)?;
            let mut visit = |recording: &mut Recording, found: LinearGradient<'_>| visit(layer, recording, found);
            self.layer_backward(&weights, &stream, &mut loss, &mut visit)?;
            self.checkpoint.release_all();
        }
        Ok(loss)
    }
}

/// Target of every position: the token after it, and none (`u32::MAX`) at the end.
pub fn next_tokens(ids: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let next = |s: &Vec<u32>| s.iter().skip(1).copied().chain([u32::MAX]).take(s.len()).collect();
    ids.iter().map(next).collect()
}
