//! One decoder layer: attention and MLP, each with its norms and its place on the residual stream.
//!
//! A layer has two halves. The first takes the residual stream that enters the layer to the one between attention and
//! MLP, the second from there to the output. With a parallel residual both halves read the stream that enters.

use super::experts::Routing;
use super::family::{Norm, Role};
use super::linear::{linear, project, project_group};
use super::weights::{Linear, NormWeights};
use super::{ActivationSite, LayerWeights, ModelError, Spec};
use crate::gpu::{Gpu, Recording};
use crate::ops::dense;
use crate::ops::nn;
use crate::tensor::Tensor;

/// A decoder layer ready to run.
pub struct DecoderLayer<'a> {
    /// Device.
    pub gpu: &'a Gpu,
    /// Sizes.
    pub spec: &'a Spec,
    /// Weights on the device.
    pub weights: &'a LayerWeights,
    /// Rotary table `[>= sequence, rotary_dim]`; none with learned positions.
    pub rope: Option<&'a Tensor>,
    /// Tokens per sequence.
    pub sequence: usize,
}

impl DecoderLayer<'_> {
    /// Records the forward pass of `x` `[batch * sequence, hidden]`, the stream that enters the layer, to its output.
    ///
    /// A mixture of experts plays what was recorded so far: its routes are chosen on the host.
    pub fn forward(&self, recording: &mut Recording, x: &Tensor) -> Result<Tensor, ModelError> {
        let middle = self.attention_half(recording, x)?;
        self.mlp_half(recording, x, middle)
    }

    /// Records the first half: the stream between attention and MLP.
    pub fn attention_half(&self, recording: &mut Recording, x: &Tensor) -> Result<Tensor, ModelError> {
        let mixed = self.activations_at(recording, x, ActivationSite::AttentionOutput)?;
        self.attention_joined(recording, x, &mixed)
    }

    /// The stream between attention and MLP, from that which enters and what the heads made of it.
    fn attention_joined(&self, recording: &mut Recording, x: &Tensor, mixed: &Tensor) -> Result<Tensor, ModelError> {
        let residual = Tensor::empty(self.gpu, "residual", x.rows(), x.cols())?;
        recording.copy(&x.slice(), &residual.slice());
        self.join(
            recording,
            mixed,
            self.weights.linear(Role::O, None),
            Norm::AttentionOut,
            &residual,
        )?;
        Ok(residual)
    }

    /// Records the second half, which adds to `middle`, the first half's result, and returns it. `entering` is the stream
    /// that entered the layer; it is read only with a parallel residual.
    pub fn mlp_half(&self, recording: &mut Recording, entering: &Tensor, middle: Tensor) -> Result<Tensor, ModelError> {
        self.mlp_half_routed(recording, entering, middle, None)
    }

    /// The same with the experts of each token as [`DecoderLayer::route`] chose them before, for the same stream.
    pub fn mlp_half_routed(
        &self,
        recording: &mut Recording,
        entering: &Tensor,
        middle: Tensor,
        routing: Option<&Routing>,
    ) -> Result<Tensor, ModelError> {
        // Both streams are one buffer unless the residual is parallel, and norms do not write in place.
        let source = if self.spec.parallel { entering } else { &middle };
        if self.weights.router.is_some() {
            let normed = self.activations_at(recording, source, ActivationSite::MlpInput)?;
            let own;
            let routing = match routing {
                Some(known) => known,
                None => {
                    own = self.route_normed(recording, &normed)?;
                    &own
                }
            };
            let sum = Tensor::zeros(self.gpu, recording, "sum of experts", middle.rows(), middle.cols())?;
            for expert in 0..routing.experts.len() {
                self.add_expert(recording, &normed, routing, expert, &sum)?;
            }
            self.add_normed(recording, sum, Norm::MlpOut, &middle)?;
        } else {
            let hidden = self.activations_at(recording, source, ActivationSite::MlpHidden)?;
            self.join(
                recording,
                &hidden,
                self.weights.linear(Role::Down, None),
                Norm::MlpOut,
                &middle,
            )?;
        }
        Ok(middle)
    }

    /// Records the activations at all sites of a layer without experts, in one pass; `x` is the stream that enters.
    pub fn all_activations(
        &self,
        recording: &mut Recording,
        x: &Tensor,
        mut see: impl FnMut(&mut Recording, ActivationSite, &Tensor),
    ) -> Result<(), ModelError> {
        let normed = self.activations_at(recording, x, ActivationSite::AttentionInput)?;
        see(recording, ActivationSite::AttentionInput, &normed);
        let mixed = self.attention(recording, &normed)?;
        drop(normed);
        see(recording, ActivationSite::AttentionOutput, &mixed);
        let middle = self.attention_joined(recording, x, &mixed)?;
        let source = if self.spec.parallel { x } else { &middle };
        let normed = self.activations_at(recording, source, ActivationSite::MlpInput)?;
        see(recording, ActivationSite::MlpInput, &normed);
        let hidden = self.mlp_hidden(recording, &normed, None)?;
        see(recording, ActivationSite::MlpHidden, &hidden);
        Ok(())
    }

    /// Records the activations at an activation site outside a mixture of experts. `x` is the stream its half reads: that which
    /// enters the layer for attention, that between the halves for the MLP (with a parallel residual the former).
    pub fn activations_at(
        &self,
        recording: &mut Recording,
        x: &Tensor,
        site: ActivationSite,
    ) -> Result<Tensor, ModelError> {
        match site {
            ActivationSite::AttentionInput => self.normed(recording, x, Norm::Attention),
            ActivationSite::AttentionOutput => {
                let normed = self.normed(recording, x, Norm::Attention)?;
                self.attention(recording, &normed)
            }
            ActivationSite::MlpInput => self.normed(recording, x, Norm::Mlp),
            ActivationSite::MlpHidden => {
                let normed = self.normed(recording, x, Norm::Mlp)?;
                self.mlp_hidden(recording, &normed, None)
            }
            ActivationSite::ExpertInput(_) | ActivationSite::ExpertHidden(_) => {
                unreachable!("experts are read_at with their routes")
            }
            ActivationSite::Output => unreachable!("the output is no site of a half"),
        }
    }

    /// Chooses the experts of every token of `x`, the stream the MLP reads.
    pub fn route(&self, recording: &mut Recording, x: &Tensor) -> Result<Routing, ModelError> {
        let normed = self.activations_at(recording, x, ActivationSite::MlpInput)?;
        self.route_normed(recording, &normed)
    }

    /// Records the activations at an activation site of one expert, the rows of its tokens; none if it has none.
    pub fn expert_activations_at(
        &self,
        recording: &mut Recording,
        x: &Tensor,
        routing: &Routing,
        site: ActivationSite,
    ) -> Result<Option<Tensor>, ModelError> {
        let (expert, hidden) = match site {
            ActivationSite::ExpertInput(expert) => (expert, false),
            ActivationSite::ExpertHidden(expert) => (expert, true),
            other => unreachable!("{other:?} belongs to no expert"),
        };
        if routing.experts[expert].rows.is_empty() {
            return Ok(None);
        }
        let normed = self.activations_at(recording, x, ActivationSite::MlpInput)?;
        let input = self.gather(recording, &normed, routing, expert)?;
        Ok(Some(if hidden {
            self.mlp_hidden(recording, &input, Some(expert))?
        } else {
            input
        }))
    }

    fn route_normed(&self, recording: &mut Recording, normed: &Tensor) -> Result<Routing, ModelError> {
        let logits = self.router_logits(recording, normed)?;
        let experts = self.spec.experts.expect("a sparse layer has experts");
        Ok(Routing::choose(&logits, experts))
    }

    /// Plays what was recorded so far.
    pub(super) fn router_logits(&self, recording: &mut Recording, normed: &Tensor) -> Result<Vec<f32>, ModelError> {
        let router = self.weights.router.as_ref().expect("a sparse layer has a router");
        let logits = project(recording, self.gpu, "router logits", normed, router)?;
        let id = recording.read(&logits.slice());
        Ok(self.gpu.submit(std::mem::take(recording))?.floats(id)?)
    }

    pub(super) fn gather(
        &self,
        recording: &mut Recording,
        normed: &Tensor,
        routing: &Routing,
        expert: usize,
    ) -> Result<Tensor, ModelError> {
        let rows = &routing.experts[expert].rows;
        let ids = self.gpu.upload("rows of an expert", bytemuck::cast_slice(rows))?;
        let out = Tensor::empty(self.gpu, "expert input", rows.len(), normed.cols())?;
        nn::embed(recording, &ids.slice(), normed, 0, &out);
        Ok(out)
    }

    /// Adds one expert's weighted output to the rows of its tokens.
    pub(super) fn add_expert(
        &self,
        recording: &mut Recording,
        normed: &Tensor,
        routing: &Routing,
        expert: usize,
        sum: &Tensor,
    ) -> Result<(), ModelError> {
        let chosen = &routing.experts[expert];
        if chosen.rows.is_empty() {
            return Ok(());
        }
        let input = self.gather(recording, normed, routing, expert)?;
        let hidden = self.mlp_hidden(recording, &input, Some(expert))?;
        let out = self.apply(
            recording,
            "expert output",
            &hidden,
            self.weights.linear(Role::Down, Some(expert)),
        )?;
        let rows = self
            .gpu
            .upload("rows of an expert", bytemuck::cast_slice(&chosen.rows))?;
        let weights = Tensor::upload(self.gpu, "expert weights", 1, chosen.weights.len(), &chosen.weights)?;
        dense::scatter_rows(recording, &rows.slice(), &weights, &out, sum);
        Ok(())
    }

    /// `x Wᵀ + b` in a new tensor.
    pub(super) fn apply(
        &self,
        recording: &mut Recording,
        label: &str,
        x: &Tensor,
        by: &Linear,
    ) -> Result<Tensor, ModelError> {
        let out = project(recording, self.gpu, label, x, &by.weight)?;
        if let Some(bias) = &by.bias {
            dense::add_row(recording, bias, &out);
        }
        Ok(out)
    }

    /// `x Wᵀ + b` for linears that share their input, in new tensors.
    pub(super) fn apply_group<const N: usize>(
        &self,
        recording: &mut Recording,
        x: &Tensor,
        by: [(&str, &Linear); N],
    ) -> Result<[Tensor; N], ModelError> {
        let outs = project_group(recording, self.gpu, x, by.map(|(label, by)| (label, &by.weight)))?;
        for ((_, by), out) in by.iter().zip(&outs) {
            if let Some(bias) = &by.bias {
                dense::add_row(recording, bias, out);
            }
        }
        Ok(outs)
    }

    /// `residual += scale * norm(x Wᵀ + b)`, in place and without a copy where neither scale nor norm intervene.
    pub(super) fn join(
        &self,
        recording: &mut Recording,
        x: &Tensor,
        by: &Linear,
        norm: Norm,
        residual: &Tensor,
    ) -> Result<(), ModelError> {
        if !self.spec.has_norm(norm) && self.spec.residual_scale == 1.0 {
            linear(recording, self.gpu, x, &by.weight, residual, true);
            if let Some(bias) = &by.bias {
                dense::add_row(recording, bias, residual);
            }
            return Ok(());
        }
        let out = self.apply(recording, "half output", x, by)?;
        self.add_normed(recording, out, norm, residual)
    }

    pub(super) fn add_normed(
        &self,
        recording: &mut Recording,
        out: Tensor,
        norm: Norm,
        residual: &Tensor,
    ) -> Result<(), ModelError> {
        let out = if self.spec.has_norm(norm) {
            self.normed(recording, &out, norm)?
        } else {
            out
        };
        dense::axpby(recording, self.spec.residual_scale, &out, 1.0, residual);
        Ok(())
    }

    /// A norm of the rows of `x`; `x` itself in layers without it.
    pub(super) fn normed(&self, recording: &mut Recording, x: &Tensor, norm: Norm) -> Result<Tensor, ModelError> {
        match self.weights.norms.get(&norm) {
            None => Ok(x.clone()),
            Some(weights) => normalise(recording, self.gpu, self.spec, weights, x),
        }
    }

    fn attention(&self, recording: &mut Recording, x: &Tensor) -> Result<Tensor, ModelError> {
        Ok(self.heads(recording, x)?.out)
    }

    fn mlp_hidden(&self, recording: &mut Recording, x: &Tensor, expert: Option<usize>) -> Result<Tensor, ModelError> {
        let (up, gate) = self.up_and_gate(recording, x, expert)?;
        match gate {
            None => {
                nn::activation(recording, self.spec.activation, &up);
                Ok(up)
            }
            Some(gate) => {
                nn::gate(recording, self.spec.activation, &up, &gate);
                Ok(gate)
            }
        }
    }

    /// What the MLP, or an expert, makes of its input before the activation; no gate without one.
    pub(super) fn up_and_gate(
        &self,
        recording: &mut Recording,
        x: &Tensor,
        expert: Option<usize>,
    ) -> Result<(Tensor, Option<Tensor>), ModelError> {
        let up = ("up", self.weights.linear(Role::Up, expert));
        if !self.weights.gated(expert) {
            return Ok((self.apply(recording, up.0, x, up.1)?, None));
        }
        let gate = ("gate", self.weights.linear(Role::Gate, expert));
        let [up, gate] = self.apply_group(recording, x, [up, gate])?;
        Ok((up, Some(gate)))
    }
}

/// A norm of the rows of `x` in a new tensor.
pub(super) fn normalise(
    recording: &mut Recording,
    gpu: &Gpu,
    spec: &Spec,
    weights: &NormWeights,
    x: &Tensor,
) -> Result<Tensor, ModelError> {
    let out = Tensor::empty(gpu, "normed", x.rows(), x.cols())?;
    match &weights.bias {
        None => nn::rms_norm(recording, x, &weights.weight, spec.norm_eps, &out),
        Some(bias) => nn::layer_norm(recording, x, &weights.weight, bias, spec.norm_eps, &out),
    }
    Ok(out)
}
