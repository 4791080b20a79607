use secateur::gpu::Recording;
use secateur::model::{ActivationSite, Decoder};
use secateur::tensor::Tensor;

use super::plain::Plain;
use super::{PLAIN, Variant, bound};
use crate::common::{assert_close, devices};

/// What a pruning method will see: each layer alone, from transformers' own input, at every activation site.
#[test]
fn every_tap_equals_a_plain_forward() {
    for name in PLAIN {
        let variant = Variant::open(name);
        let (spec, sequence) = (&variant.spec, variant.sequence());
        let plain = Plain {
            checkpoint: &variant.checkpoint,
            spec,
            sequence,
        };
        for layer in 0..spec.layers {
            let x = variant.entering(layer);
            let wanted = plain.layer(layer, x);
            for gpu in devices() {
                let decoder = Decoder::new(gpu, &variant.checkpoint, spec, sequence).unwrap();
                let weights = decoder.layer(layer).unwrap();
                let values: Vec<f32> = x.iter().map(|v| *v as f32).collect();
                let x = Tensor::upload(gpu, "x", values.len() / spec.hidden, spec.hidden, &values).unwrap();
                for (site, wanted) in &wanted {
                    let mut recording = Recording::new();
                    let block = decoder.block(&weights);
                    let at = match site {
                        ActivationSite::Output => block.forward(&mut recording, &x).unwrap(),
                        site if site.in_mlp() => {
                            let middle = block.attention_half(&mut recording, &x).unwrap();
                            block.activations_at(&mut recording, &middle, *site).unwrap()
                        }
                        site => block.activations_at(&mut recording, &x, *site).unwrap(),
                    };
                    gpu.submit(recording).unwrap().wait().unwrap();
                    assert_eq!(at.shape(), [values.len() / spec.hidden, spec.width(*site)]);
                    let what = format!("{name} on {}: layer {layer}, {site:?}", gpu.name());
                    assert_close(&what, &at.fetch(gpu).unwrap(), wanted, bound(spec, 1));
                }
                let unchanged = x.fetch(gpu).unwrap();
                assert_eq!(unchanged, values, "{name} on {}: the layer's input", gpu.name());
            }
        }
    }
}
