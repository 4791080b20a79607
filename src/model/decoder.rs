//! The stack of decoder layers, run one layer at a time over all sequences: only that layer is on the device.

use std::collections::BTreeSet;

use super::lanes::at_once;
use super::weights::{Amend, finite, finite_from};
use super::{ActivationOptions, Activations, Ahead, DecoderLayer, LayerWeights, ModelError, Rope, Spec};
use crate::checkpoint::{Checkpoint, TensorView};
use crate::gpu::{Gpu, ReadId, Recording, Submission};
use crate::ops::nn;
use crate::tensor::Tensor;

/// Bytes of the head on the device at once.
pub(super) const VOCABULARY_BYTES: usize = 16 << 20;
/// Rows of the embedding read at a time.
const EMBEDDING_ROWS: usize = 64;

/// Where batches come from, and where what is made of them goes.
enum Flow<'a> {
    InPlace(&'a mut Activations),
    Across(&'a Activations, &'a mut Activations),
}

impl Flow<'_> {
    fn from(&self) -> &Activations {
        match self {
            Flow::InPlace(activations) => activations,
            Flow::Across(from, _) => from,
        }
    }

    fn to(&mut self) -> &mut Activations {
        match self {
            Flow::InPlace(activations) => activations,
            Flow::Across(_, to) => to,
        }
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
    /// Tokens per sequence.
    pub sequence: usize,
    ropes: Vec<Tensor>,
    amend: Option<&'a dyn Amend>,
}

impl<'a> Decoder<'a> {
    /// Prepares to run sequences of `sequence` tokens.
    pub fn new(gpu: &'a Gpu, checkpoint: &'a Checkpoint, spec: &'a Spec, sequence: usize) -> Result<Self, ModelError> {
        let table =
            |rope: &Rope| Tensor::upload(gpu, "rotary table", sequence, rope.rotary_dim(), &rope.table(sequence));
        Ok(Decoder {
            gpu,
            checkpoint,
            spec,
            sequence,
            ropes: spec.ropes.iter().map(table).collect::<Result<_, _>>()?,
            amend: None,
        })
    }

    /// The same with other weights.
    pub fn amended(self, amend: &'a dyn Amend) -> Self {
        Decoder {
            amend: Some(amend),
            ..self
        }
    }

    /// Weights of one decoder layer.
    pub fn layer(&self, layer: usize) -> Result<LayerWeights, ModelError> {
        LayerWeights::load_amended(self.gpu, (self.checkpoint, self.spec), layer, self.amend)
    }

    /// A layer's forward pass with the given weights.
    pub fn block<'b>(&'b self, weights: &'b LayerWeights) -> DecoderLayer<'b> {
        let local = self.spec.kinds[weights.layer].local_rope;
        DecoderLayer {
            gpu: self.gpu,
            spec: self.spec,
            weights,
            rope: self.ropes.get(usize::from(local)),
            sequence: self.sequence,
        }
    }

    /// Embeds sequences of equal length, kept in memory as f32.
    pub fn embed(&self, ids: &[Vec<u32>]) -> Result<Activations, ModelError> {
        self.embed_with(ids, &ActivationOptions::default())
    }

    /// Embeds sequences of equal length, batch by batch. Only the rows in use reach memory and the device.
    pub fn embed_with(&self, ids: &[Vec<u32>], options: &ActivationOptions) -> Result<Activations, ModelError> {
        let spec = self.spec;
        let sequence = ids.first().map_or(1, Vec::len);
        if let Some(id) = ids.iter().flatten().find(|id| **id as usize >= spec.vocabulary) {
            return Err(ModelError::TokenOutOfRange {
                id: *id,
                vocabulary: spec.vocabulary,
            });
        }
        let view = self
            .checkpoint
            .tensor_of_shape(&spec.embedding(), &[spec.vocabulary, spec.hidden])?;
        let mut out = Activations::new(ids.len(), sequence, spec.hidden, options)?;
        for (batch, ids) in ids.chunks(out.per_batch()).enumerate() {
            let mut values = self.embed_batch(&view, &ids.concat())?;
            // The rows in use are checked, not the whole table: it can be larger than memory.
            if let Some(element) = values.iter().position(|v| !v.is_finite()) {
                finite(&view)?;
                unreachable!("element {element} was read from a finite embedding");
            }
            self.place(&mut values)?;
            out.write(batch, &values)?;
            self.checkpoint.release(&spec.embedding());
        }
        self.checkpoint.release_all();
        Ok(out)
    }

    /// Rows of `table` for one batch: its distinct ids make a table of their own, in the order of the file and never
    /// larger than the result.
    fn embed_batch(&self, table: &TensorView<'_>, ids: &[u32]) -> Result<Vec<f32>, ModelError> {
        let (gpu, hidden) = (self.gpu, self.spec.hidden);
        let distinct: Vec<u32> = BTreeSet::from_iter(ids).into_iter().copied().collect();
        let place = |id: &u32| distinct.binary_search(id).expect("of these ids") as u32;
        let places: Vec<u32> = ids.iter().map(place).collect();
        let places = gpu.upload("token ids", bytemuck::cast_slice(&places))?;
        let x = Tensor::empty(gpu, "embedded", ids.len(), hidden)?;
        let row = hidden * table.dtype.size();
        let mut bytes = Vec::with_capacity(distinct.len() * row);
        for ids in distinct.chunks(EMBEDDING_ROWS) {
            ids.iter()
                .for_each(|id| bytes.extend_from_slice(&table.bytes[*id as usize * row..][..row]));
            // The kernel maps far more around each row than was read.
            self.checkpoint.release(table.name);
        }
        let rows = Tensor::upload_stored(gpu, "embedding rows", [distinct.len(), hidden], table.dtype, &bytes)?;
        let mut recording = Recording::new();
        nn::embed(&mut recording, &places.slice(), &rows, 0, &x);
        gpu.submit(recording)?;
        Ok(x.fetch(gpu)?)
    }

    /// Turns embedding rows of whole sequences into the stream that enters the first layer: scales them and adds the
    /// learned positions.
    fn place(&self, values: &mut [f32]) -> Result<(), ModelError> {
        let spec = self.spec;
        if spec.embedding_scale != 1.0 {
            values.iter_mut().for_each(|v| *v *= spec.embedding_scale);
        }
        let (Some(name), Some(offset)) = (spec.positions(), spec.position_offset) else {
            return Ok(());
        };
        let view = self.checkpoint.tensor(&name)?;
        let row = spec.hidden * view.dtype.size();
        let bytes = &view.bytes[offset * row..(offset + self.sequence) * row];
        finite_from(&view, offset * spec.hidden, bytes)?;
        let table = view.dtype.decode(bytes);
        for sequence in values.chunks_mut(table.len()) {
            sequence.iter_mut().zip(&table).for_each(|(v, p)| *v += p);
        }
        Ok(())
    }

    /// Replaces every batch by the layer's output.
    pub fn advance(&self, activations: &mut Activations, weights: &LayerWeights) -> Result<(), ModelError> {
        let block = self.block(weights);
        self.replace(activations, |recording, x| block.forward(recording, &x))
    }

    /// Replaces every batch by what `record` makes of it.
    pub fn replace(
        &self,
        activations: &mut Activations,
        record: impl Fn(&mut Recording, Tensor) -> Result<Tensor, ModelError> + Sync,
    ) -> Result<(), ModelError> {
        self.flow_by_sequence(Flow::InPlace(activations), record)
    }

    /// The same where `record` is told which batch it is.
    pub fn replace_each(
        &self,
        activations: &mut Activations,
        record: impl Fn(&mut Recording, usize, Tensor) -> Result<Tensor, ModelError>,
    ) -> Result<(), ModelError> {
        self.flow(Flow::InPlace(activations), record)
    }

    /// What `record` makes of every batch, as a stream of its own.
    pub fn map(
        &self,
        activations: &Activations,
        record: impl Fn(&mut Recording, Tensor) -> Result<Tensor, ModelError> + Sync,
    ) -> Result<Activations, ModelError> {
        let mut made = activations.empty_like()?;
        self.flow_by_sequence(Flow::Across(activations, &mut made), record)?;
        Ok(made)
    }

    /// For a `record` that makes the same of a sequence whichever others are with it: on the host a batch goes in parts.
    fn flow_by_sequence(
        &self,
        mut flow: Flow<'_>,
        record: impl Fn(&mut Recording, Tensor) -> Result<Tensor, ModelError> + Sync,
    ) -> Result<(), ModelError> {
        if !self.gpu.is_host() {
            return self.flow(flow, |recording, _, x| record(recording, x));
        }
        for batch in 0..flow.from().batches() {
            let parts = at_once(flow.from().upload_parts(self.gpu, batch)?, |x| {
                let (submission, id) = self.begin(x, &record)?;
                Ok::<_, ModelError>(submission.floats(id)?)
            });
            let parts = parts.into_iter().collect::<Result<Vec<_>, _>>()?;
            flow.to().write_parts(batch, &parts)?;
        }
        Ok(())
    }

    fn flow(
        &self,
        mut flow: Flow<'_>,
        record: impl Fn(&mut Recording, usize, Tensor) -> Result<Tensor, ModelError>,
    ) -> Result<(), ModelError> {
        let mut ahead = Ahead::default();
        let mut done: Option<(usize, Vec<f32>)> = None;
        for batch in 0..flow.from().batches() {
            let x = ahead.take(self.gpu, flow.from(), batch)?;
            let (submission, id) = self.begin(x, |recording, x| record(recording, batch, x))?;
            // What the host has to do while the device is busy.
            if let Some((batch, values)) = done.take() {
                flow.to().write(batch, &values)?;
            }
            ahead.fetch(self.gpu, flow.from(), batch + 1)?;
            let values = submission.floats(id)?;
            if self.gpu.is_host() {
                flow.to().write(batch, &values)?;
            } else {
                done = Some((batch, values));
            }
        }
        if let Some((batch, values)) = done {
            flow.to().write(batch, &values)?;
        }
        Ok(())
    }

    /// What `record` makes of one batch.
    pub fn pass(
        &self,
        activations: &Activations,
        batch: usize,
        record: impl Fn(&mut Recording, Tensor) -> Result<Tensor, ModelError>,
    ) -> Result<Vec<f32>, ModelError> {
        let (submission, id) = self.begin(activations.upload(self.gpu, batch)?, record)?;
        Ok(submission.floats(id)?)
    }

    fn begin(
        &self,
        x: Tensor,
        record: impl Fn(&mut Recording, Tensor) -> Result<Tensor, ModelError>,
    ) -> Result<(Submission, ReadId), ModelError> {
        let mut recording = Recording::new();
        let y = record(&mut recording, x)?;
        let id = recording.read(&y.slice());
        Ok((self.gpu.submit(recording)?, id))
    }

    /// Runs all layers; `progress` hears of each layer done.
    pub fn run(&self, ids: &[Vec<u32>], mut progress: impl FnMut(usize)) -> Result<Activations, ModelError> {
        let go_on = |layer| {
            progress(layer);
            true
        };
        let states = self.run_with(ids, &ActivationOptions::default(), go_on)?;
        Ok(states.expect("nothing stops it"))
    }

    /// Runs all layers, with the stream kept as `options` say; after each it asks whether to go on. `None` if it was not to.
    pub fn run_with(
        &self,
        ids: &[Vec<u32>],
        options: &ActivationOptions,
        mut go_on: impl FnMut(usize) -> bool,
    ) -> Result<Option<Activations>, ModelError> {
        let mut activations = self.embed_with(ids, options)?;
        for layer in 0..self.spec.layers {
            let weights = self.layer(layer)?;
            self.advance(&mut activations, &weights)?;
            self.checkpoint.release_all();
            if !go_on(layer + 1) {
                return Ok(None);
            }
        }
        Ok(Some(activations))
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
