use secateur::gpu::Recording;
use secateur::model::{ActivationOptions, Activations, Decoder, LinearGradient, next_tokens};

use super::super::values;
use super::{Told, Variant};
use crate::common::{assert_close, devices};

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
                let mut visit = |_: &mut Recording, found: LinearGradient<'_>| told.hear(layer, found);
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
