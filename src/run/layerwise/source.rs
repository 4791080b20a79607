//! Where the sums over a layer's inputs come from: forward passes through the layer, or a file of an earlier run.

use super::capture::{Streams, capture_all};
use super::plan::Plan;
use super::statistics::LayerStatistics;
use crate::gpu::Gpu;
use crate::model::{ActivationSite, Activations, Decoder, Group, LayerWeights, LinearSpec, Routing};
use crate::prune::{GramStatistics, Propagate, Within};
use crate::run::RunError;
use crate::run::order::{done_after, drifts, enters};
use crate::run::samples::TokenIds;
use crate::tensor::{DType, Tensor};

/// The inputs of one decoder layer, as the walk goes through it.
pub(in crate::run) enum LayerInputs<'w, 'a> {
    /// Run and summed up.
    Captured(Box<CapturedLayer<'w, 'a>>),
    /// Read. What becomes of the layer changes nothing.
    Loaded(LayerStatistics<'w>),
}

impl<'w, 'a> LayerInputs<'w, 'a> {
    /// Runs the layer; `entering` is its stream.
    pub(in crate::run) fn captured(
        plan: &'w Plan,
        decoder: &'w Decoder<'a>,
        layer: usize,
        entering: HiddenStates,
    ) -> Result<Self, RunError> {
        let mut dense = decoder.layer(layer)?;
        decoder.checkpoint.release_all();
        if layer + 1 < plan.layers {
            let next = plan.spec.linears_of(layer + 1)?;
            decoder.checkpoint.prefetch(next.iter().map(|l| l.tensor.clone()));
        }
        let pruned = dense.clone();
        if plan.options.propagate == Propagate::Pruned && plan.options.within == Within::Linear {
            // No pass goes through the dense layer.
            dense.forget(|_| true);
        }
        Ok(LayerInputs::Captured(Box::new(CapturedLayer {
            plan,
            decoder,
            dense,
            pruned,
            stream: entering.pruned,
            dense_stream: entering.dense,
            at_once: plan.options.captures_at_once(&plan.spec.groups(layer)?).then(Vec::new),
            routes: Vec::new(),
        })))
    }

    /// The sums of a group. After it, what no pass needs any more is gone: solving takes the most memory.
    pub(in crate::run) fn sums(&mut self, gpu: &Gpu, group: &Group) -> Result<GramStatistics, RunError> {
        match self {
            LayerInputs::Captured(layer) => layer.sums(group),
            LayerInputs::Loaded(layer) => layer.sums(gpu, group.input),
        }
    }

    /// The weight of a linear as the device has it, before it is replaced.
    pub(in crate::run) fn weight(&self, linear: &LinearSpec) -> Option<Tensor> {
        match self {
            LayerInputs::Captured(layer) => layer.pruned.whole(linear).or_else(|| layer.dense.whole(linear)),
            LayerInputs::Loaded(_) => None,
        }
    }

    /// The group's linears are now these.
    pub(in crate::run) fn replace(&mut self, group: &Group, replaced: Vec<Replaced<'_>>) -> Result<(), RunError> {
        match self {
            LayerInputs::Captured(layer) => layer.replace(group, replaced),
            LayerInputs::Loaded(_) => Ok(()),
        }
    }

    /// From attention to the MLP.
    pub(in crate::run) fn between(self) -> Result<Self, RunError> {
        Ok(match self {
            LayerInputs::Captured(layer) => LayerInputs::Captured(Box::new(layer.between()?)),
            loaded @ LayerInputs::Loaded(_) => loaded,
        })
    }

    /// What leaves the layer, if there is a stream.
    pub(in crate::run) fn leave(self) -> Result<Option<HiddenStates>, RunError> {
        match self {
            LayerInputs::Captured(layer) => layer.leave().map(Some),
            LayerInputs::Loaded(_) => Ok(None),
        }
    }
}

/// What enters a decoder layer.
pub(in crate::run) struct HiddenStates {
    /// The stream its linears are pruned on.
    pub(in crate::run) pruned: Activations,
    /// That of the dense model, where it is kept beside and anything before was pruned.
    pub(in crate::run) dense: Option<Activations>,
}

impl HiddenStates {
    /// The embedded tokens.
    pub(in crate::run) fn embedded(plan: &Plan, decoder: &Decoder<'_>, ids: &TokenIds) -> Result<Self, RunError> {
        Ok(HiddenStates {
            pruned: decoder.embed_with(ids, &plan.activation_options())?,
            dense: None,
        })
    }

    /// All streams.
    pub(in crate::run) fn streams(&self) -> Vec<&Activations> {
        [&self.pruned].into_iter().chain(&self.dense).collect()
    }

    /// Of the streams that [`HiddenStates::streams`] gave; none if there were none.
    pub(in crate::run) fn of(streams: Vec<Activations>) -> Option<Self> {
        let mut streams = streams.into_iter();
        let pruned = streams.next()?;
        Some(HiddenStates {
            pruned,
            dense: streams.next(),
        })
    }

    /// Goes through a layer that stays as it is.
    pub(in crate::run) fn pass(&mut self, decoder: &Decoder<'_>, layer: usize) -> Result<(), RunError> {
        let weights = decoder.layer(layer)?;
        decoder.advance(&mut self.pruned, &weights)?;
        if let Some(dense) = &mut self.dense {
            decoder.advance(dense, &weights)?;
        }
        Ok(())
    }
}

/// A pruned linear.
pub(in crate::run) struct Replaced<'g> {
    /// What it is.
    pub(in crate::run) linear: &'g LinearSpec,
    /// Its stored type.
    pub(in crate::run) dtype: DType,
    /// Its elements `[outputs, inputs]`.
    pub(in crate::run) rows: Vec<u8>,
    /// The same on the device, if they are there already.
    pub(in crate::run) uploaded: Option<Tensor>,
}

/// A layer in its dense and its pruned version, and the streams they read.
pub(in crate::run) struct CapturedLayer<'w, 'a> {
    plan: &'w Plan,
    decoder: &'w Decoder<'a>,
    dense: LayerWeights,
    pruned: LayerWeights,
    /// What the present half reads: what entered the layer, later what the pruned attention made of it.
    stream: Activations,
    /// The same of the dense model or attention; absent where it is the same or not needed.
    dense_stream: Option<Activations>,
    /// Sums of groups that wait for their turn, where all are captured in one pass.
    at_once: Option<Vec<(ActivationSite, GramStatistics)>>,
    /// Experts of the tokens of the stream that is captured, by batch.
    routes: Vec<Routing>,
}

impl CapturedLayer<'_, '_> {
    fn propagate(&self) -> Propagate {
        self.plan.options.propagate
    }

    fn sums(&mut self, group: &Group) -> Result<GramStatistics, RunError> {
        if self.at_once.is_some() {
            return self.one_of_all(group);
        }
        let dense = || {
            (
                self.decoder.block(&self.dense),
                self.dense_stream.as_ref().unwrap_or(&self.stream),
            )
        };
        let streams = Streams {
            pruned: match self.plan.options.within {
                Within::Linear => (self.decoder.block(&self.pruned), &self.stream),
                Within::Layer => dense(),
            },
            dense: dense(),
        };
        // Before anything is pruned both streams are one.
        let alike = self.dense_stream.is_none() && enters(&self.plan.spec, group.input);
        let corrected = !alike && drifts(&self.plan.spec, &self.plan.options, group.input);
        let wanted = (self.plan.needs(), corrected);
        let sums = streams.capture(self.decoder.gpu, group, wanted, &mut self.routes)?;
        if let Some(expert) = done_after(group.input) {
            let unneeded = match self.propagate() {
                Propagate::Dense => Some(&mut self.pruned),
                Propagate::Local | Propagate::Pruned => Some(&mut self.dense),
                Propagate::Both => None,
            };
            if let Some(unneeded) = unneeded {
                unneeded.forget(|id| id.role.in_mlp() && id.expert == expert);
            }
        }
        Ok(sums)
    }

    /// The sums of a group out of those of all, which the first call captures.
    fn one_of_all(&mut self, group: &Group) -> Result<GramStatistics, RunError> {
        let all = self.at_once.as_mut().expect("captured in one pass");
        if all.is_empty() {
            let groups = self.plan.spec.groups(self.dense.layer)?;
            let (gpu, block) = (self.decoder.gpu, self.decoder.block(&self.dense));
            let sums = capture_all(gpu, &block, &self.stream, &groups, self.plan.needs())?;
            // The first is taken last.
            all.extend(groups.iter().map(|group| group.input).zip(sums).rev());
            let gone = match self.propagate() {
                Propagate::Dense => &mut self.pruned,
                _ => &mut self.dense,
            };
            gone.forget(|_| true);
        }
        let all = self.at_once.as_mut().expect("captured in one pass");
        let (site, sums) = all.pop().expect("a group is asked for once");
        assert_eq!(site, group.input, "groups come in order");
        Ok(sums)
    }

    fn replace(&mut self, group: &Group, replaced: Vec<Replaced<'_>>) -> Result<(), RunError> {
        let unread = self.plan.options.within == Within::Layer || done_after(group.input).is_some();
        if self.propagate() == Propagate::Dense && unread {
            return Ok(());
        }
        let gpu = self.decoder.gpu;
        for new in replaced {
            match new.uploaded {
                Some(stored) if new.linear.whole().is_some() => self.pruned.put_whole(gpu, new.linear, stored)?,
                _ => self.pruned.put(gpu, new.linear, new.dtype, &new.rows)?,
            }
        }
        Ok(())
    }

    /// With a parallel residual the MLP reads the stream that enters the layer.
    fn between(mut self) -> Result<Self, RunError> {
        if self.plan.spec.parallel || self.at_once.is_some() {
            return Ok(self);
        }
        let (decoder, within) = (self.decoder, self.plan.options.within);
        if within == Within::Layer && self.propagate() == Propagate::Dense {
            // One stream, through one layer.
            let block = decoder.block(&self.dense);
            decoder.replace(&mut self.stream, |recording, x| block.attention_half(recording, &x))?;
            return Ok(self);
        }
        if self.propagate() != Propagate::Pruned || within == Within::Layer {
            let block = decoder.block(&self.dense);
            match &mut self.dense_stream {
                Some(dense) => decoder.replace(dense, |recording, x| block.attention_half(recording, &x))?,
                None => {
                    let half = decoder.map(&self.stream, |recording, x| block.attention_half(recording, &x))?;
                    self.dense_stream = Some(half);
                }
            }
        }
        let block = decoder.block(&self.pruned);
        decoder.replace(&mut self.stream, |recording, x| block.attention_half(recording, &x))?;
        self.dense.forget(|id| !id.role.in_mlp());
        self.pruned.forget(|id| !id.role.in_mlp());
        Ok(self)
    }

    /// What leaves the layer, through the MLP of what the next layer shall see.
    fn leave(mut self) -> Result<HiddenStates, RunError> {
        // The experts were chosen for the stream that was captured.
        let captured = match self.plan.options.within {
            Within::Linear => !self.plan.spec.parallel,
            Within::Layer => self.dense_stream.is_none(),
        };
        let through = |mut stream: Activations, weights: &LayerWeights, captured: bool| {
            if self.plan.spec.parallel || self.at_once.is_some() {
                self.decoder.advance(&mut stream, weights)?;
                return Ok::<_, RunError>(stream);
            }
            let block = self.decoder.block(weights);
            self.decoder.replace_each(&mut stream, |recording, batch, middle| {
                let routing = self.routes.get(batch).filter(|_| captured);
                block.mlp_half_routed(recording, &middle.clone(), middle, routing)
            })?;
            Ok(stream)
        };
        let dense_stream = self.dense_stream.take();
        let (pruned, dense) = match self.plan.options.propagate {
            // Where the residual is parallel there is no stream between the halves.
            Propagate::Dense => {
                let captured = captured && dense_stream.is_none();
                (
                    through(dense_stream.unwrap_or(self.stream), &self.dense, captured)?,
                    None,
                )
            }
            Propagate::Local | Propagate::Pruned => (through(self.stream, &self.pruned, captured)?, None),
            Propagate::Both => {
                let dense = match dense_stream {
                    Some(stream) => through(stream, &self.dense, false)?,
                    // A parallel layer that is the first to be pruned.
                    None => {
                        let block = self.decoder.block(&self.dense);
                        (self.decoder).map(&self.stream, |recording, x| block.forward(recording, &x))?
                    }
                };
                (through(self.stream, &self.pruned, captured)?, Some(dense))
            }
        };
        Ok(HiddenStates { pruned, dense })
    }
}
