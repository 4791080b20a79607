//! The backward pass against autograd (fixtures of `scripts/golden_gradients.py`): products of every linear's gradient with
//! fixed vectors from either side, the losses, and the gradient of the stream that enters the first layer.

use std::collections::BTreeMap;

use safetensors::SafeTensors;
use secateur::checkpoint::Checkpoint;
use secateur::gpu::{Gpu, Recording};
use secateur::model::{
    ActivationOptions, Activations, Decoder, LinearGradient, LinearId, LinearSpec, LossGradient, ModelError, Spec,
    next_tokens,
};
use secateur::tensor::{DType, Tensor};
use tempfile::TempDir;

use super::plain::Plain;
use super::{Variant, bound, f64s, folder, values, variants, windows};
use crate::common::{assert_close, devices, open};

/// Numbers between -1/2 and 1/2 without a pattern: `direction` of the script.
fn direction(n: usize) -> Vec<f64> {
    (0..n).map(|i| ((i * 7919 + 13) % 1009) as f64 / 1009.0 - 0.5).collect()
}

/// Weights' gradients `Σ g xᵀ`, `[outputs, inputs]` by layer and linear of the forward pass.
type WeightGradients = BTreeMap<(usize, LinearId), Vec<f64>>;

/// Inputs and gradients a visitor was told of.
struct Told(Vec<(usize, LinearId, Tensor, Tensor)>);

impl Told {
    fn hear(
        &mut self,
        gpu: &Gpu,
        layer: usize,
        recording: &mut Recording,
        found: LinearGradient<'_>,
    ) -> Result<(), ModelError> {
        let mut keep = |tensor: &Tensor| {
            let copy = Tensor::empty(gpu, "kept", tensor.rows(), tensor.cols())?;
            recording.copy(&tensor.slice(), &copy.slice());
            Ok::<_, ModelError>(copy)
        };
        let (x, g) = (keep(found.input)?, keep(found.gradient)?);
        self.0.push((layer, found.id, x, g));
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
    let mut visit =
        |layer: usize, recording: &mut Recording, found: LinearGradient<'_>| told.hear(gpu, layer, recording, found);
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

/// Families on the adapter too: Llama, and the one with most of the switches.
const ON_THE_ADAPTER: [&str; 5] = ["tied_gqa_bf16", "gemma2", "gpt_neox", "qwen3", "mixtral"];

#[test]
fn every_family_matches_autograd() {
    for name in &variants() {
        let variant = Variant::open(name);
        for gpu in devices() {
            if gpu.is_host() || ON_THE_ADAPTER.contains(&name.as_str()) {
                let (loss, gradients) = backward(gpu, &variant, &ActivationOptions::default());
                let [share, error] = check(gpu, &variant, &loss, &gradients);
                eprintln!(
                    "{name:22} {:30} worst error {error:.1e}, {share:.2} of its bound",
                    gpu.name()
                );
            }
        }
    }
}

/// Streams in a file, in batches of one sequence: the same gradients.
#[test]
fn where_streams_are_kept_does_not_matter() {
    let folder = TempDir::new().unwrap();
    for name in ["tied_gqa_bf16", "opt"] {
        let variant = Variant::open(name);
        let options = ActivationOptions {
            ram_budget: Some(0),
            rows: 1,
            spill_dir: folder.path().into(),
            ..Default::default()
        };
        for gpu in devices() {
            let (loss, gradients) = backward(gpu, &variant, &options);
            assert_eq!(loss.stream.ram_bytes(), 0);
            check(gpu, &variant, &loss, &gradients);
        }
    }
}

/// Matrices larger than a binding, and a vocabulary of many tiles: the loss falls along a direction of the entering stream
/// as a plain forward pass in f64 does.
#[test]
fn weights_in_windows_and_tiles_give_the_slope_of_a_plain_forward() {
    for dtype in [DType::F32, DType::BF16] {
        let folder = windows::model(dtype);
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let spec = Spec::of(&checkpoint).unwrap();
        let ids: Vec<Vec<u32>> = (0..2)
            .map(|i| (0..23).map(|j| (i * 4001 + j * 1117 + 5) % 9001).collect())
            .collect();
        let plain = Plain {
            checkpoint: &checkpoint,
            spec: &spec,
            sequence: 23,
        };
        let x = plain.embed(&ids);
        let along = direction(x.len());
        let at = |step: f64| {
            plain_loss(
                &plain,
                &x.iter().zip(&along).map(|(x, d)| x + step * d).collect::<Vec<_>>(),
                &ids,
            )
        };
        let wanted = (at(1e-5) - at(-1e-5)) / 2e-5;
        let adapters = devices().iter().map(|gpu| if gpu.is_host() { "cpu" } else { "0" });
        for gpu in adapters.map(|adapter| open(adapter, Some(windows::SMALL_BINDING))) {
            let decoder = Decoder::new(&gpu, &checkpoint, &spec, 23).unwrap();
            let loss = decoder
                .backward(&ids, &ActivationOptions::default(), &mut |_, _, _| Ok(()))
                .unwrap();
            let gradient = f64s(&values(&loss.stream));
            let found: f64 = gradient.iter().zip(&along).map(|(a, b)| a * b).sum();
            let size = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>().sqrt();
            // An error of the gradient and the direction know nothing of each other: few in n of it lie along.
            let bound = 8.0 * gradient_bound(&spec, 0) * size(&gradient) * size(&along) / (x.len() as f64).sqrt();
            let what = format!("{} {dtype:?}", gpu.name());
            assert!(
                (found - wanted).abs() <= bound,
                "{what}: slope {found}, wanted {wanted}; bound {bound:.1e}"
            );
            assert!(
                wanted.abs() > 100.0 * bound,
                "{what}: a slope of {wanted} shows nothing"
            );
        }
    }
}

/// Sum of the sequences' mean losses, for the stream `x` that enters the only layer.
fn plain_loss(plain: &Plain<'_>, x: &[f64], ids: &[Vec<u32>]) -> f64 {
    let (_, output) = plain.layer(0, x).pop().expect("the output is the last tap");
    let logits = plain.logits(&output);
    let rows = logits.chunks(plain.spec.vocabulary).zip(next_tokens(ids).concat());
    let losses = rows.filter(|(_, target)| *target != u32::MAX).map(|(row, target)| {
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        top + row.iter().map(|l| (l - top).exp()).sum::<f64>().ln() - row[target as usize]
    });
    losses.sum::<f64>() / (plain.sequence - 1) as f64
}

/// A sequence whose loss is not finite is counted, has a zero gradient, and visitors never see it.
#[test]
fn sequences_without_a_finite_loss_are_skipped() {
    let variant = Variant::open("tied_gqa_bf16");
    let (spec, sequence) = (&variant.spec, variant.sequence());
    for gpu in devices() {
        let decoder = Decoder::new(gpu, &variant.checkpoint, spec, sequence).unwrap();
        let run = |ids: &[Vec<u32>], damage: bool| {
            let mut trace = decoder.trace(ids, &ActivationOptions::default()).unwrap();
            let spoil = |stream: &mut Activations| {
                let mut values = stream.read(0).unwrap();
                values[3 * spec.hidden] = f32::NAN;
                stream.write(0, &values).unwrap();
            };
            if damage {
                spoil(&mut trace.leaving);
                trace.entering.iter_mut().for_each(spoil);
            }
            let mut loss = decoder.loss_gradient(&trace.leaving, &next_tokens(ids)).unwrap();
            let mut told = Told(Vec::new());
            for layer in (0..spec.layers).rev() {
                let weights = decoder.layer(layer).unwrap();
                let mut visit =
                    |recording: &mut Recording, found: LinearGradient<'_>| told.hear(gpu, layer, recording, found);
                let entering = &trace.entering[layer];
                decoder
                    .layer_backward(&weights, entering, &mut loss, &mut visit)
                    .unwrap();
            }
            (loss, told.weight_gradients(gpu))
        };
        let (loss, found) = run(&variant.ids, true);
        let (alone, wanted) = run(&variant.ids[1..], false);
        assert_eq!(loss.skipped, [0], "{}", gpu.name());
        assert!(!loss.losses[0].is_finite() && loss.losses[1] == alone.losses[0]);
        let stream = values(&loss.stream);
        let (skipped, kept) = stream.split_at(sequence * spec.hidden);
        assert!(
            skipped.iter().all(|v| *v == 0.0),
            "{}: a skipped sequence has a gradient",
            gpu.name()
        );
        assert_eq!(kept, values(&alone.stream), "{}", gpu.name());
        assert!(found == wanted, "{}: visitors were told otherwise", gpu.name());
    }
}

/// Targets may be any ids; a sequence without one has no loss.
#[test]
fn positions_without_a_target_have_no_gradient() {
    let variant = Variant::open("gemma2");
    let spec = &variant.spec;
    for gpu in devices() {
        let decoder = Decoder::new(gpu, &variant.checkpoint, spec, variant.sequence()).unwrap();
        let leaving = decoder.run(&variant.ids, |_| {}).unwrap();
        let mut targets = next_tokens(&variant.ids);
        let whole = decoder.loss_gradient(&leaving, &targets).unwrap();
        targets[0] = vec![u32::MAX; variant.sequence()];
        targets[1][5] = u32::MAX;
        let loss = decoder.loss_gradient(&leaving, &targets).unwrap();
        assert_eq!(loss.skipped, [0]);
        let (stream, whole) = (values(&loss.stream), values(&whole.stream));
        let first = variant.sequence();
        let scored = (variant.sequence() - 1) as f64;
        for (row, (found, before)) in stream.chunks(spec.hidden).zip(whole.chunks(spec.hidden)).enumerate() {
            if row < first || row == first + 5 || row == 2 * first - 1 {
                assert!(found.iter().all(|v| *v == 0.0), "{}: row {row}", gpu.name());
            } else {
                // One target less in the mean.
                let wanted: Vec<f64> = before.iter().map(|v| f64::from(*v) * scored / (scored - 1.0)).collect();
                assert_close(
                    &format!("{}: row {row}", gpu.name()),
                    found,
                    &wanted,
                    8.0 * f64::from(f32::EPSILON),
                );
            }
        }
    }
}
