//! Gradients of norms, and of the ends of a layer's halves.

use crate::gpu::{Gpu, Recording};
use crate::model::family::{Norm, QkNorm};
use crate::model::weights::{Linear, NormWeights};
use crate::model::{DecoderLayer, ModelError, Spec};
use crate::ops::{dense, nn};
use crate::tensor::Tensor;

impl DecoderLayer<'_> {
    /// Gradient of the input `x` of a norm from that of its output; `dy` itself in layers without it.
    pub(super) fn normed_backward(
        &self,
        recording: &mut Recording,
        x: &Tensor,
        dy: Tensor,
        norm: Norm,
    ) -> Result<Tensor, ModelError> {
        match self.weights.norms.get(&norm) {
            None => Ok(dy),
            Some(weights) => norm_backward(recording, self.gpu, self.spec, weights, [x, &dy]),
        }
    }

    /// The same for queries or keys, normalised head by head or over all.
    pub(super) fn qk_normed_backward(
        &self,
        recording: &mut Recording,
        x: &Tensor,
        dy: Tensor,
        norm: Norm,
    ) -> Result<Tensor, ModelError> {
        match self.spec.qk_norm {
            QkNorm::None => Ok(dy),
            QkNorm::All => self.normed_backward(recording, x, dy, norm),
            QkNorm::Head => {
                let ([rows, cols], dim) = (x.shape(), self.spec.head_dim);
                let heads = |t: &Tensor| t.reshaped(rows * (cols / dim), dim);
                let dx = self.normed_backward(recording, &heads(x), heads(&dy), norm)?;
                Ok(dx.reshaped(rows, cols))
            }
        }
    }

    /// Gradient of what a half's last linear puts out, from that of the stream it is added to: through the scale and the
    /// norm that may stand between. `input` is the linear's; it is read only for that norm.
    pub(super) fn half_output_backward(
        &self,
        recording: &mut Recording,
        (input, by): (&Tensor, &Linear),
        dy: &Tensor,
        norm: Norm,
    ) -> Result<Tensor, ModelError> {
        let dy = self.residual_backward(recording, dy)?;
        if !self.spec.has_norm(norm) {
            return Ok(dy);
        }
        let out = self.apply(recording, "half output", input, by)?;
        self.normed_backward(recording, &out, dy, norm)
    }

    /// Gradient of what is added to the stream.
    pub(super) fn residual_backward(&self, recording: &mut Recording, dy: &Tensor) -> Result<Tensor, ModelError> {
        if self.spec.residual_scale == 1.0 {
            return Ok(dy.clone());
        }
        let scaled = Tensor::empty(self.gpu, "half gradient", dy.rows(), dy.cols())?;
        dense::axpby(recording, self.spec.residual_scale, dy, 0.0, &scaled);
        Ok(scaled)
    }
}

/// Gradient of a norm's input in a new tensor.
pub(super) fn norm_backward(
    recording: &mut Recording,
    gpu: &Gpu,
    spec: &Spec,
    weights: &NormWeights,
    [x, dy]: [&Tensor; 2],
) -> Result<Tensor, ModelError> {
    let dx = Tensor::empty(gpu, "norm gradient", x.rows(), x.cols())?;
    if weights.bias.is_some() {
        nn::layer_norm_backward(recording, x, &weights.weight, spec.norm_eps, [dy, &dx]);
    } else {
        nn::rms_norm_backward(recording, x, &weights.weight, spec.norm_eps, [dy, &dx]);
    }
    Ok(dx)
}
