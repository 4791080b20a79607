//! Attention of one decoder layer: its linears, the norms and rotation of queries and keys, and the mixing of values.

use super::family::{Norm, QkNorm, Role};
use super::{DecoderLayer, ModelError};
use crate::gpu::Recording;
use crate::ops::nn::{self, AttentionShape, RopeShape};
use crate::tensor::Tensor;

/// Attention from its linears on.
pub(super) struct Heads {
    /// Queries and keys before their norms; without norms these are `q` and `k`.
    pub(super) raw: [Tensor; 2],
    /// Queries as attention reads them.
    pub(super) q: Tensor,
    /// Keys, likewise.
    pub(super) k: Tensor,
    /// Values.
    pub(super) v: Tensor,
    /// Input of the output linear.
    pub(super) out: Tensor,
}

impl DecoderLayer<'_> {
    /// Queries, keys and values of the normalised stream `x`, and what attention makes of them.
    pub(super) fn heads(&self, recording: &mut Recording, x: &Tensor) -> Result<Heads, ModelError> {
        let (spec, weights) = (self.spec, self.weights);
        let qkv = [("q", Role::Q), ("k", Role::K), ("v", Role::V)];
        let qkv = qkv.map(|(label, role)| (label, weights.linear(role, None)));
        let [raw_q, raw_k, v] = self.apply_group(recording, x, qkv)?;
        let (q, k) = (
            self.qk_normed(recording, raw_q.clone(), Norm::Q)?,
            self.qk_normed(recording, raw_k.clone(), Norm::K)?,
        );
        if let Some(rope) = self.rope {
            for (tensor, heads) in [(&q, spec.heads), (&k, spec.kv_heads)] {
                nn::rope(recording, tensor, rope, self.rope_shape(rope, heads));
            }
        }
        let out = Tensor::empty(self.gpu, "attention", q.rows(), q.cols())?;
        nn::attention(recording, self.gpu, &q, &k, &v, &out, self.attention_shape());
        Ok(Heads {
            raw: [raw_q, raw_k],
            q,
            k,
            v,
            out,
        })
    }

    pub(super) fn rope_shape(&self, table: &Tensor, heads: usize) -> RopeShape {
        RopeShape {
            seq: self.sequence,
            heads,
            head_dim: self.spec.head_dim,
            rotary_dim: table.cols(),
        }
    }

    pub(super) fn attention_shape(&self) -> AttentionShape {
        let spec = self.spec;
        AttentionShape {
            seq: self.sequence,
            heads: spec.heads,
            kv_heads: spec.kv_heads,
            head_dim: spec.head_dim,
            scale: spec.attention_scale,
            window: spec.kinds[self.weights.layer].window,
            soft_cap: spec.attention_cap,
        }
    }

    /// The norm of queries or keys, head by head or over all.
    fn qk_normed(&self, recording: &mut Recording, x: Tensor, norm: Norm) -> Result<Tensor, ModelError> {
        match self.spec.qk_norm {
            QkNorm::None => Ok(x),
            QkNorm::All => self.normed(recording, &x, norm),
            QkNorm::Head => {
                let (rows, cols) = (x.rows(), x.cols());
                let heads = x.reshaped(rows * (cols / self.spec.head_dim), self.spec.head_dim);
                Ok(self.normed(recording, &heads, norm)?.reshaped(rows, cols))
            }
        }
    }
}
