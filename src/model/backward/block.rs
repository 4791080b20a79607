//! One decoder layer backwards, recomputed from the stream that enters it.

use crate::gpu::Recording;
use crate::model::family::{Norm, Role};
use crate::model::heads::Heads;
use crate::model::linear::{linear_backward, pull_back};
use crate::model::{DecoderLayer, LinearId, ModelError};
use crate::ops::dense;
use crate::ops::nn::{self, AttentionBackward};
use crate::tensor::Tensor;

/// What a linear read and what the loss wants of its output, for a batch of rows.
#[derive(Clone, Copy)]
pub struct LinearGradient<'a> {
    /// Which linear; the parts of a fused tensor one by one.
    pub id: LinearId,
    /// Its input, `[rows, inputs]`.
    pub input: &'a Tensor,
    /// Gradient of the loss with respect to its output, `[rows, outputs]`.
    pub gradient: &'a Tensor,
}

/// Hears of every linear of a layer, and may add to the recording. Tensors hold what it is told once the recording is
/// played that far; nothing writes to them later, so a clone keeps them.
pub type Visit<'a> = dyn FnMut(&mut Recording, LinearGradient<'_>) -> Result<(), ModelError> + 'a;

/// An MLP from its first linears on.
pub(super) struct Mlp {
    expert: Option<usize>,
    /// Before the activation.
    gate: Option<Tensor>,
    up: Tensor,
    /// Input of the last linear.
    pub(super) hidden: Tensor,
}

impl DecoderLayer<'_> {
    /// Records the backward pass: from `x`, the stream that enters the layer, and `dy`, the gradient of its output, both
    /// `[batch * sequence, hidden]`, to the gradient of `x`. The forward pass is recomputed.
    ///
    /// `visit` hears of down, gate and up, then o, q, k and v. A mixture of experts plays what was recorded so far; its
    /// experts are heard of one after another, those with tokens, and their rows are those of their tokens: inputs as they
    /// were gathered, gradients times the weight of the expert's output.
    pub fn backward(
        &self,
        recording: &mut Recording,
        x: &Tensor,
        dy: &Tensor,
        visit: &mut Visit<'_>,
    ) -> Result<Tensor, ModelError> {
        let normed = self.normed(recording, x, Norm::Attention)?;
        let heads = self.heads(recording, &normed)?;
        // With a parallel residual both halves read the stream that enters, and their gradients meet there.
        let total = if self.spec.parallel {
            self.mlp_backward(recording, x, dy, visit)?
        } else {
            let middle = Tensor::empty(self.gpu, "residual", x.rows(), x.cols())?;
            recording.copy(&x.slice(), &middle.slice());
            let o = self.weights.linear(Role::O, None);
            self.join(recording, &heads.out, o, Norm::AttentionOut, &middle)?;
            self.mlp_backward(recording, &middle, dy, visit)?
        };
        dense::axpby(recording, 1.0, dy, 1.0, &total);
        let dmixed = if self.spec.parallel { dy } else { &total };
        let dnormed = self.attention_backward(recording, [&normed, dmixed], &heads, visit)?;
        let dx = self.normed_backward(recording, x, dnormed, Norm::Attention)?;
        dense::axpby(recording, 1.0, &total, 1.0, &dx);
        Ok(dx)
    }

    /// Gradient of the normalised input of attention, from `dy`, that of the stream its result is added to.
    fn attention_backward(
        &self,
        recording: &mut Recording,
        [normed, dy]: [&Tensor; 2],
        heads: &Heads,
        visit: &mut Visit<'_>,
    ) -> Result<Tensor, ModelError> {
        let o = self.weights.linear(Role::O, None);
        let g = self.half_output_backward(recording, (&heads.out, o), dy, Norm::AttentionOut)?;
        let found = LinearGradient {
            id: LinearId::of(Role::O),
            input: &heads.out,
            gradient: &g,
        };
        visit(recording, found)?;
        let dout = pull_back(recording, self.gpu, &g, &o.weight)?;
        let gradients = self.heads_backward(recording, heads, &dout)?;
        let dnormed = Tensor::empty(self.gpu, "attention gradient", normed.rows(), normed.cols())?;
        for (role, gradient) in [Role::Q, Role::K, Role::V].into_iter().zip(&gradients) {
            let found = LinearGradient {
                id: LinearId::of(role),
                input: normed,
                gradient,
            };
            visit(recording, found)?;
            let weight = &self.weights.linear(role, None).weight;
            linear_backward(recording, self.gpu, gradient, weight, &dnormed, role != Role::Q);
        }
        Ok(dnormed)
    }

    /// Gradients of what the linears of queries, keys and values put out, from that of attention's result.
    fn heads_backward(
        &self,
        recording: &mut Recording,
        heads: &Heads,
        dout: &Tensor,
    ) -> Result<[Tensor; 3], ModelError> {
        let Heads { raw, q, k, v, out } = heads;
        let like = |label, t: &Tensor| Tensor::empty(self.gpu, label, t.rows(), t.cols());
        let (dq, dk, dv) = (like("dq", q)?, like("dk", k)?, like("dv", v)?);
        let stats = Tensor::empty(self.gpu, "softmax rows", q.rows(), 2 * self.spec.heads)?;
        let call = AttentionBackward {
            q,
            k,
            v,
            out,
            dout,
            stats: &stats,
            dq: &dq,
            dk: &dk,
            dv: &dv,
        };
        nn::attention_backward(recording, self.gpu, &call, self.attention_shape());
        if let Some(table) = self.rope {
            for (tensor, heads) in [(&dq, self.spec.heads), (&dk, self.spec.kv_heads)] {
                nn::rope_backward(recording, tensor, table, self.rope_shape(table, heads));
            }
        }
        let dq = self.qk_normed_backward(recording, &raw[0], dq, Norm::Q)?;
        let dk = self.qk_normed_backward(recording, &raw[1], dk, Norm::K)?;
        Ok([dq, dk, dv])
    }

    /// The MLP's share of the gradient of `source`, the stream it reads, from `dy`, that of the stream it is added to; a
    /// new tensor.
    fn mlp_backward(
        &self,
        recording: &mut Recording,
        source: &Tensor,
        dy: &Tensor,
        visit: &mut Visit<'_>,
    ) -> Result<Tensor, ModelError> {
        let normed = self.normed(recording, source, Norm::Mlp)?;
        let dnormed = if self.weights.router.is_some() {
            self.experts_backward(recording, &normed, dy, visit)?
        } else {
            let mlp = self.mlp(recording, &normed, None)?;
            let down = self.weights.linear(Role::Down, None);
            let g = self.half_output_backward(recording, (&mlp.hidden, down), dy, Norm::MlpOut)?;
            self.mlp_linears_backward(recording, mlp, [&normed, &g], visit)?
        };
        self.normed_backward(recording, source, dnormed, Norm::Mlp)
    }

    /// The MLP, or an expert, up to its last linear.
    pub(super) fn mlp(&self, recording: &mut Recording, x: &Tensor, expert: Option<usize>) -> Result<Mlp, ModelError> {
        let (up, gate) = self.up_and_gate(recording, x, expert)?;
        let hidden = Tensor::empty(self.gpu, "hidden", up.rows(), up.cols())?;
        recording.copy(&gate.as_ref().unwrap_or(&up).slice(), &hidden.slice());
        match gate {
            Some(_) => nn::gate(recording, self.spec.activation, &up, &hidden),
            None => nn::activation(recording, self.spec.activation, &hidden),
        }
        Ok(Mlp {
            expert,
            gate,
            up,
            hidden,
        })
    }

    /// Gradient of the MLP's input `x` from `g`, that of its last linear's output.
    pub(super) fn mlp_linears_backward(
        &self,
        recording: &mut Recording,
        mlp: Mlp,
        [x, g]: [&Tensor; 2],
        visit: &mut Visit<'_>,
    ) -> Result<Tensor, ModelError> {
        let id = |role| LinearId {
            role,
            expert: mlp.expert,
        };
        let found = LinearGradient {
            id: id(Role::Down),
            input: &mlp.hidden,
            gradient: g,
        };
        visit(recording, found)?;
        let down = &self.weights.linear(Role::Down, mlp.expert).weight;
        let dhidden = pull_back(recording, self.gpu, g, down)?;
        let mut gradients = Vec::with_capacity(2);
        if let Some(gate) = mlp.gate {
            nn::gate_backward(recording, self.spec.activation, &dhidden, &gate, &mlp.up);
            gradients.extend([(Role::Gate, gate), (Role::Up, mlp.up)]);
        } else {
            nn::activation_backward(recording, self.spec.activation, &mlp.up, &dhidden);
            gradients.push((Role::Up, dhidden));
        }
        let dx = Tensor::empty(self.gpu, "mlp gradient", x.rows(), x.cols())?;
        for (i, (role, gradient)) in gradients.iter().enumerate() {
            let found = LinearGradient {
                id: id(*role),
                input: x,
                gradient,
            };
            visit(recording, found)?;
            let weight = &self.weights.linear(*role, mlp.expert).weight;
            linear_backward(recording, self.gpu, gradient, weight, &dx, i > 0);
        }
        Ok(dx)
    }
}
