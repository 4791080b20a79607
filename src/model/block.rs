//! One decoder layer: norm, attention, residual, norm, gated MLP, residual.

use super::linear::{linear, project};
use super::{LayerWeights, ModelError, Role, Spec, Tap};
use crate::gpu::{Gpu, Recording};
use crate::ops::nn::{self, AttentionShape, RopeShape};
use crate::tensor::Tensor;

/// A decoder layer ready to run.
pub struct Block<'a> {
    /// Sizes.
    pub spec: &'a Spec,
    /// Weights on the device.
    pub weights: &'a LayerWeights,
    /// Rotary table `[>= sequence, head_dim]`.
    pub rope: &'a Tensor,
}

impl Block<'_> {
    /// Records the forward pass of `x` `[batch * sequence, hidden]` as far as `tap` and returns the activations there.
    pub fn forward_to(
        &self,
        recording: &mut Recording,
        gpu: &Gpu,
        x: &Tensor,
        sequence: usize,
        tap: Tap,
    ) -> Result<Tensor, ModelError> {
        let normed = self.normed(recording, gpu, x, &self.weights.attention_norm)?;
        if tap == Tap::AttentionInput {
            return Ok(normed);
        }
        let mixed = self.attention(recording, gpu, &normed, sequence)?;
        if tap == Tap::AttentionOutput {
            return Ok(mixed);
        }
        let residual = Tensor::empty(gpu, "residual", x.rows(), x.cols())?;
        recording.copy(&x.slice(), &residual.slice());
        linear(recording, gpu, &mixed, &self.weights.linears[&Role::O], &residual, true);
        let normed = self.normed(recording, gpu, &residual, &self.weights.mlp_norm)?;
        if tap == Tap::MlpInput {
            return Ok(normed);
        }
        let gate = project(recording, gpu, "gate", &normed, &self.weights.linears[&Role::Gate])?;
        let up = project(recording, gpu, "up", &normed, &self.weights.linears[&Role::Up])?;
        nn::silu_gate(recording, &up, &gate);
        if tap == Tap::MlpHidden {
            return Ok(gate);
        }
        linear(
            recording,
            gpu,
            &gate,
            &self.weights.linears[&Role::Down],
            &residual,
            true,
        );
        Ok(residual)
    }

    fn normed(&self, recording: &mut Recording, gpu: &Gpu, x: &Tensor, weight: &Tensor) -> Result<Tensor, ModelError> {
        let out = Tensor::empty(gpu, "normed", x.rows(), x.cols())?;
        nn::rms_norm(recording, x, weight, self.spec.norm_eps, &out);
        Ok(out)
    }

    fn attention(
        &self,
        recording: &mut Recording,
        gpu: &Gpu,
        x: &Tensor,
        sequence: usize,
    ) -> Result<Tensor, ModelError> {
        let spec = self.spec;
        let q = project(recording, gpu, "q", x, &self.weights.linears[&Role::Q])?;
        let k = project(recording, gpu, "k", x, &self.weights.linears[&Role::K])?;
        let v = project(recording, gpu, "v", x, &self.weights.linears[&Role::V])?;
        for (tensor, heads) in [(&q, spec.heads), (&k, spec.kv_heads)] {
            let shape = RopeShape {
                seq: sequence,
                heads,
                head_dim: spec.head_dim,
                rotary_dim: spec.head_dim,
            };
            nn::rope(recording, tensor, self.rope, shape);
        }
        let out = Tensor::empty(gpu, "attention", q.rows(), q.cols())?;
        let shape = AttentionShape {
            seq: sequence,
            heads: spec.heads,
            kv_heads: spec.kv_heads,
            head_dim: spec.head_dim,
            scale: (spec.head_dim as f32).sqrt().recip(),
        };
        nn::attention(recording, gpu, &q, &k, &v, &out, shape);
        Ok(out)
    }
}
