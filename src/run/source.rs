//! Where the sums over a layer's inputs come from: forward passes through the layer, or a file of an earlier run.

use super::RunError;
use super::capture::Streams;
use super::plan::{Plan, PruneOptions, Sums};
use super::statistics::LayerStatistics;
use crate::gpu::Gpu;
use crate::model::{Activations, Decoder, Group, LayerWeights, LinearSpec, Spec, Tap};
use crate::prune::GramStatistics;
use crate::prune::Propagate;
use crate::tensor::DType;

/// The inputs of one decoder layer, as the walk goes through it.
pub(super) enum LayerInputs<'w, 'a> {
    /// Run and summed up.
    Captured(Box<CapturedLayer<'w, 'a>>),
    /// Read. What becomes of the layer changes nothing.
    Loaded(LayerStatistics<'w>),
}

impl<'w, 'a> LayerInputs<'w, 'a> {
    /// Runs the layer; `entering` is its stream.
    pub(super) fn captured(
        plan: &'w Plan,
        decoder: &'w Decoder<'a>,
        layer: usize,
        entering: Activations,
    ) -> Result<Self, RunError> {
        let mut dense = decoder.layer(layer)?;
        decoder.checkpoint.release_all();
        if layer + 1 < plan.layers {
            let next = plan.spec.linears_of(layer + 1)?;
            decoder.checkpoint.prefetch(next.iter().map(|l| l.tensor.clone()));
        }
        let pruned = dense.clone();
        if plan.options.propagate == Propagate::Pruned {
            // No pass goes through the dense layer.
            dense.forget(|_| true);
        }
        Ok(LayerInputs::Captured(Box::new(CapturedLayer {
            plan,
            decoder,
            dense,
            pruned,
            stream: entering,
            dense_stream: None,
        })))
    }

    /// The sums of a group. After it, what no pass needs any more is gone: solving takes the most memory.
    pub(super) fn sums(&mut self, gpu: &Gpu, group: &Group) -> Result<GramStatistics, RunError> {
        match self {
            LayerInputs::Captured(layer) => layer.sums(group),
            LayerInputs::Loaded(layer) => layer.sums(gpu, group.input),
        }
    }

    /// The group's linears are now these.
    pub(super) fn replace(&mut self, group: &Group, replaced: &[Replaced<'_>]) -> Result<(), RunError> {
        match self {
            LayerInputs::Captured(layer) => layer.replace(group, replaced),
            LayerInputs::Loaded(_) => Ok(()),
        }
    }

    /// From attention to the MLP.
    pub(super) fn between(self) -> Result<Self, RunError> {
        Ok(match self {
            LayerInputs::Captured(layer) => LayerInputs::Captured(Box::new(layer.between()?)),
            loaded @ LayerInputs::Loaded(_) => loaded,
        })
    }

    /// The stream that leaves the layer, if there is one.
    pub(super) fn leave(self) -> Result<Option<Activations>, RunError> {
        match self {
            LayerInputs::Captured(layer) => layer.leave().map(Some),
            LayerInputs::Loaded(_) => Ok(None),
        }
    }
}

/// A pruned linear: what it is, its stored type and its elements `[outputs, inputs]`.
pub(super) type Replaced<'g> = (&'g LinearSpec, DType, Vec<u8>);

/// A layer in its dense and its pruned version, and the streams they read.
pub(super) struct CapturedLayer<'w, 'a> {
    plan: &'w Plan,
    decoder: &'w Decoder<'a>,
    dense: LayerWeights,
    pruned: LayerWeights,
    /// What the present half reads; between the halves, what the pruned attention made of it.
    stream: Activations,
    /// The same of the dense attention; absent where it is the same or not needed.
    dense_stream: Option<Activations>,
}

impl CapturedLayer<'_, '_> {
    fn propagate(&self) -> Propagate {
        self.plan.options.propagate
    }

    fn sums(&mut self, group: &Group) -> Result<GramStatistics, RunError> {
        let streams = Streams {
            pruned: (self.decoder.block(&self.pruned), &self.stream),
            dense: (
                self.decoder.block(&self.dense),
                self.dense_stream.as_ref().unwrap_or(&self.stream),
            ),
        };
        let corrected = drifts(&self.plan.spec, &self.plan.options, group.input);
        let sums = streams.capture(self.decoder.gpu, group, corrected)?;
        if let Some(expert) = done_after(group.input) {
            let unneeded = if self.propagate() == Propagate::Dense {
                &mut self.pruned
            } else {
                &mut self.dense
            };
            unneeded.forget(|id| id.role.in_mlp() && id.expert == expert);
        }
        Ok(sums)
    }

    fn replace(&mut self, group: &Group, replaced: &[Replaced<'_>]) -> Result<(), RunError> {
        if self.propagate() == Propagate::Dense && done_after(group.input).is_some() {
            return Ok(());
        }
        for (linear, dtype, rows) in replaced {
            self.pruned.put(self.decoder.gpu, linear, *dtype, rows)?;
        }
        Ok(())
    }

    /// With a parallel residual the MLP reads the stream that enters the layer.
    fn between(mut self) -> Result<Self, RunError> {
        if self.plan.spec.parallel {
            return Ok(self);
        }
        let decoder = self.decoder;
        if self.propagate() != Propagate::Pruned {
            let block = decoder.block(&self.dense);
            let half = decoder.map(&self.stream, |recording, x| block.attention_half(recording, &x))?;
            self.dense_stream = Some(half);
        }
        let block = decoder.block(&self.pruned);
        decoder.replace(&mut self.stream, |recording, x| block.attention_half(recording, &x))?;
        self.dense.forget(|id| !id.role.in_mlp());
        self.pruned.forget(|id| !id.role.in_mlp());
        Ok(self)
    }

    /// The stream that leaves the layer, through the MLP of what the next layer shall see.
    fn leave(self) -> Result<Activations, RunError> {
        let weights = match self.propagate() {
            Propagate::Dense => &self.dense,
            Propagate::Local | Propagate::Pruned => &self.pruned,
        };
        let mut stream = match (self.propagate(), self.dense_stream) {
            (Propagate::Dense, Some(dense)) => dense,
            _ => self.stream,
        };
        if self.plan.spec.parallel {
            self.decoder.advance(&mut stream, weights)?;
            return Ok(stream);
        }
        let block = self.decoder.block(weights);
        self.decoder.replace(&mut stream, |recording, middle| {
            block.mlp_half(recording, &middle.clone(), middle)
        })?;
        Ok(stream)
    }
}

/// Whether the inputs at a tap differ between the pruned and the dense layer, and the difference is corrected.
pub(super) fn drifts(spec: &Spec, options: &PruneOptions, tap: Tap) -> bool {
    let same = match tap {
        Tap::AttentionInput => true,
        Tap::MlpInput | Tap::ExpertInput(_) => spec.parallel,
        _ => false,
    };
    !same && options.propagate != Propagate::Pruned && !matches!(options.sums, Sums::Loaded(_))
}

/// The MLP (or which expert) that is read for the last time when this tap is captured, but by the pass to the next
/// layer. That reads the dense layer if inputs are dense, else the pruned one: the other copy can go.
pub(super) fn done_after(tap: Tap) -> Option<Option<usize>> {
    match tap {
        Tap::MlpHidden => Some(None),
        Tap::ExpertHidden(expert) => Some(Some(expert)),
        _ => None,
    }
}
