//! The backward pass against autograd (fixtures of `scripts/golden_gradients.py`): products of every linear's gradient with
//! fixed vectors from either side, the losses, and the gradient of the stream that enters the first layer.

mod families;
mod skipped;
mod slope;

use std::collections::BTreeMap;

use safetensors::SafeTensors;
use secateur::gpu::{Gpu, Recording};
use secateur::model::{
    ActivationOptions, Decoder, LinearGradient, LinearId, LinearSpec, LossGradient, ModelError, Spec,
};
use secateur::tensor::{DType, Tensor};

use super::{Variant, bound, f64s, folder, values};
use crate::common::assert_close;

/// Numbers between -1/2 and 1/2 without a pattern: `direction` of the script.
fn direction(n: usize) -> Vec<f64> {
    (0..n).map(|i| ((i * 7919 + 13) % 1009) as f64 / 1009.0 - 0.5).collect()
}

/// Weights' gradients `Σ g xᵀ`, `[outputs, inputs]` by layer and linear of the forward pass.
type WeightGradients = BTreeMap<(usize, LinearId), Vec<f64>>;

/// Inputs and gradients a visitor was told of; nothing may write to them later.
struct Told(Vec<(usize, LinearId, Tensor, Tensor)>);

impl Told {
    fn hear(&mut self, layer: usize, found: LinearGradient<'_>) -> Result<(), ModelError> {
        self.0
            .push((layer, found.id, found.input.clone(), found.gradient.clone()));
        Ok(())
    }

    fn weight_gradients(&self, gpu: &Gpu) -> WeightGradients {
        let mut sums = WeightGradients::new();
        for (layer, id, x, g) in &self.0 {
            assert_eq!(x.rows(), g.rows(), "{id:?}");
            let (inputs, outputs) = (x.cols(), g.cols());
            let sum = sums.entry((*layer, *id)).or_insert_with(|| vec![0.0; inputs * outputs]);
            let (x, g) = (x.fetch(gpu).unwrap(), g.fetch(gpu).unwrap());
            for (x, g) in x.chunks(inputs).zip(g.chunks(outputs)) {
                for (sum, g) in sum.chunks_mut(inputs).zip(g) {
                    sum.iter_mut()
                        .zip(x)
                        .for_each(|(sum, x)| *sum += f64::from(*g) * f64::from(*x));
                }
            }
        }
        sums
    }
}

/// Backward pass over all layers.
fn backward(gpu: &Gpu, variant: &Variant, options: &ActivationOptions) -> (LossGradient, WeightGradients) {
    let decoder = Decoder::new(gpu, &variant.checkpoint, &variant.spec, variant.sequence()).unwrap();
    let mut told = Told(Vec::new());
    let mut visit = |layer: usize, _: &mut Recording, found: LinearGradient<'_>| told.hear(layer, found);
    let loss = decoder.backward(&variant.ids, options, &mut visit).unwrap();
    (loss, told.weight_gradients(gpu))
}

/// A stored weight's gradient, put together from its parts; experts without tokens have none.
fn stored(linear: &LinearSpec, layer: usize, gradients: &WeightGradients) -> Vec<f64> {
    let inputs = linear.shape[1];
    let mut out = vec![0.0; linear.shape[0] * inputs];
    for (part, id) in linear.parts.iter().zip(linear.ids()) {
        let Some(gradient) = gradients.get(&(layer, id)) else {
            assert!(id.expert.is_some(), "layer {layer} tells nothing of {id:?}");
            continue;
        };
        let mut rows = gradient.chunks(inputs);
        for row in part.rows.iter().cloned().flatten() {
            out[row * inputs..][..inputs].copy_from_slice(rows.next().expect("a row of the part"));
        }
        assert!(rows.next().is_none(), "layer {layer}, {id:?}: rows left over");
    }
    out
}

/// Fixture of a variant.
fn expected(name: &str) -> BTreeMap<String, Vec<f64>> {
    let bytes = std::fs::read(folder(name).join("gradients.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let floats =
        |(name, tensor): (String, safetensors::tensor::TensorView<'_>)| (name, f64s(&DType::F32.decode(tensor.data())));
    file.tensors().into_iter().map(floats).collect()
}

/// Bound on the relative error of a gradient in `layer`: the whole forward pass with the head, and the way back to it.
fn gradient_bound(spec: &Spec, layer: usize) -> f64 {
    bound(spec, spec.layers + 1) + bound(spec, spec.layers - layer + 1)
}

/// Compares everything; returns the largest error as a share of its bound, and the largest error.
fn check(gpu: &Gpu, variant: &Variant, loss: &LossGradient, gradients: &WeightGradients) -> [f64; 2] {
    let (spec, expected) = (&variant.spec, expected(&variant.name));
    let mut compared = 2;
    let mut worst = [0.0f64; 2];
    let mut compare = |name: &str, found: &[f64], bound: f64| {
        let wanted = &expected[name];
        let found: Vec<f32> = found.iter().map(|v| *v as f32).collect();
        let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
        let error =
            norm(&mut found.iter().zip(wanted).map(|(f, w)| f64::from(*f) - w)) / norm(&mut wanted.iter().copied());
        worst = [worst[0].max(error / bound), worst[1].max(error)];
        assert_close(
            &format!("{} on {}: {name}", variant.name, gpu.name()),
            &found,
            wanted,
            bound,
        );
    };
    assert!(loss.skipped.is_empty(), "{}: {:?} skipped", variant.name, loss.skipped);
    compare("losses", &loss.losses, gradient_bound(spec, spec.layers));
    let along = direction(spec.hidden);
    let entering: Vec<f64> = f64s(&values(&loss.stream))
        .chunks(spec.hidden)
        .map(|row| row.iter().zip(&along).map(|(a, b)| a * b).sum())
        .collect();
    compare("entering", &entering, gradient_bound(spec, 0));
    for layer in 0..spec.layers {
        for linear in spec.linears_of(layer).unwrap() {
            let gradient = stored(&linear, layer, gradients);
            let [outputs, inputs] = linear.shape.map(direction);
            let rows = gradient.chunks(inputs.len());
            let product: Vec<f64> = rows
                .clone()
                .map(|row| row.iter().zip(&inputs).map(|(a, b)| a * b).sum())
                .collect();
            compare(
                &format!("{}.outputs", linear.tensor),
                &product,
                gradient_bound(spec, layer),
            );
            let mut product = vec![0.0; inputs.len()];
            for (row, factor) in rows.zip(&outputs) {
                product.iter_mut().zip(row).for_each(|(sum, v)| *sum += factor * v);
            }
            compare(
                &format!("{}.inputs", linear.tensor),
                &product,
                gradient_bound(spec, layer),
            );
            compared += 2;
        }
    }
    assert_eq!(
        compared,
        expected.len(),
        "{}: the fixture has other linears",
        variant.name
    );
    worst
}
