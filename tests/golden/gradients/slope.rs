use secateur::checkpoint::Checkpoint;
use secateur::model::{ActivationOptions, Decoder, Spec, next_tokens};
use secateur::tensor::DType;

use super::super::plain::Plain;
use super::super::{f64s, values, windows};
use super::{direction, gradient_bound};
use crate::common::devices;

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
        for gpu in devices().iter().map(windows::smaller) {
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
    let (_, output) = plain.layer(0, x).pop().expect("the output is the last site");
    let logits = plain.logits(&output);
    let rows = logits.chunks(plain.spec.vocabulary).zip(next_tokens(ids).concat());
    let losses = rows.filter(|(_, target)| *target != u32::MAX).map(|(row, target)| {
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        top + row.iter().map(|l| (l - top).exp()).sum::<f64>().ln() - row[target as usize]
    });
    losses.sum::<f64>() / (plain.sequence - 1) as f64
}
