//! A mixture of experts backwards: through the chosen experts and, by their weights, through the router.

use super::block::Visit;
use crate::gpu::Recording;
use crate::model::family::{Norm, Role};
use crate::model::linear::linear_backward;
use crate::model::{DecoderLayer, ModelError, Routing};
use crate::ops::dense;
use crate::tensor::Tensor;

impl DecoderLayer<'_> {
    /// Gradient of the mixture's input `normed`, from `dy`, that of the stream its sum is added to.
    pub(super) fn experts_backward(
        &self,
        recording: &mut Recording,
        normed: &Tensor,
        dy: &Tensor,
        visit: &mut Visit<'_>,
    ) -> Result<Tensor, ModelError> {
        let spec = self.spec.experts.expect("a sparse layer has experts");
        let logits = self.router_logits(recording, normed)?;
        let routing = Routing::choose(&logits, spec);
        let dsum = self.sum_backward(recording, normed, &routing, dy)?;
        let dnormed = Tensor::zeros(self.gpu, recording, "mixture gradient", normed.rows(), normed.cols())?;
        let mut products = Vec::with_capacity(spec.count);
        for expert in 0..spec.count {
            let product = self.expert_backward(recording, [normed, &dsum, &dnormed], (&routing, expert), visit)?;
            products.push(product.map(|p| recording.read(&p.slice())));
        }
        let played = self.gpu.submit(std::mem::take(recording))?;
        let of_weights = products
            .into_iter()
            .map(|id| id.map_or(Ok(Vec::new()), |id| played.floats(id)));
        let of_weights = of_weights.collect::<Result<Vec<_>, _>>()?;
        let dlogits = routing.backward(&logits, spec, &of_weights);
        let dlogits = Tensor::upload(self.gpu, "router gradient", normed.rows(), spec.count, &dlogits)?;
        let router = self.weights.router.as_ref().expect("a sparse layer has a router");
        linear_backward(recording, self.gpu, &dlogits, router, &dnormed, true);
        Ok(dnormed)
    }

    /// Gradient of the experts' weighted sum; the sum itself is only needed for a norm after it.
    fn sum_backward(
        &self,
        recording: &mut Recording,
        normed: &Tensor,
        routing: &Routing,
        dy: &Tensor,
    ) -> Result<Tensor, ModelError> {
        let dy = self.residual_backward(recording, dy)?;
        if !self.spec.has_norm(Norm::MlpOut) {
            return Ok(dy);
        }
        let sum = Tensor::zeros(self.gpu, recording, "sum of experts", normed.rows(), normed.cols())?;
        for expert in 0..routing.experts.len() {
            self.add_expert(recording, normed, routing, expert, &sum)?;
        }
        self.normed_backward(recording, &sum, dy, Norm::MlpOut)
    }

    /// Adds one expert's share to the rows of its tokens in `dnormed`; returns the gradients `[1, tokens]` of its weights,
    /// nothing if it has no tokens.
    fn expert_backward(
        &self,
        recording: &mut Recording,
        [normed, dsum, dnormed]: [&Tensor; 3],
        (routing, expert): (&Routing, usize),
        visit: &mut Visit<'_>,
    ) -> Result<Option<Tensor>, ModelError> {
        let (gpu, chosen) = (self.gpu, &routing.experts[expert]);
        let tokens = chosen.rows.len();
        if tokens == 0 {
            return Ok(None);
        }
        let input = self.gather(recording, normed, routing, expert)?;
        let g = self.gather(recording, dsum, routing, expert)?;
        let mlp = self.mlp(recording, &input, Some(expert))?;
        let down = self.weights.linear(Role::Down, Some(expert));
        let out = self.apply(recording, "expert output", &mlp.hidden, down)?;
        let product = Tensor::empty(gpu, "weight gradients", 1, tokens)?;
        dense::row_reduce(recording, dense::RowReduce::Dot, &g, &out, &product);
        let weights = Tensor::upload(gpu, "expert weights", 1, tokens, &chosen.weights)?;
        let ones = |n: usize| Tensor::upload(gpu, "ones", 1, n, &vec![1.0; n]);
        dense::scale(recording, &g, &weights, &ones(g.cols())?);
        let dinput = self.mlp_linears_backward(recording, mlp, [&input, &g], visit)?;
        let rows = gpu.upload("rows of an expert", bytemuck::cast_slice(&chosen.rows))?;
        dense::scatter_rows(recording, &rows.slice(), &ones(tokens)?, &dinput, dnormed);
        Ok(Some(product))
    }
}
