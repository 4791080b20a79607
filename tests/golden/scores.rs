use secateur::checkpoint::Checkpoint;
use secateur::model::{Decoder, DivergenceState, Spec, TokenLoss};

use super::{PLAIN, Variant, f64s, logits_bound, perturbed, rms, variants};
use crate::common::{assert_close, devices};

/// Error of a sum of `terms` exponentials in f32, each within 2 ulp, and of its logarithm's arguments.
pub(super) fn sum_error(terms: usize) -> f64 {
    (2.0 + (terms as f64).sqrt()) * f64::from(f32::EPSILON)
}

/// `log Σ exp` of a row.
fn log_sum(row: &[f64]) -> f64 {
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    top + row.iter().map(|v| (v - top).exp()).sum::<f64>().ln()
}

/// Compares losses with those of the f64 `logits`, which the device's logits match within `logits_error` relatively.
pub(super) fn check_losses(what: &str, losses: &[Vec<TokenLoss>], ids: &[Vec<u32>], logits: &[f64], logits_error: f64) {
    let sequence = ids[0].len();
    let vocabulary = logits.len() / (sequence * ids.len());
    assert_eq!(losses.len(), ids.len(), "{what}: sequences");
    let (mut found, mut wanted) = (Vec::new(), Vec::new());
    let absolute = logits_error * rms(logits);
    for ((losses, ids), logits) in losses.iter().zip(ids).zip(logits.chunks(sequence * vocabulary)) {
        assert_eq!(losses.len(), sequence - 1, "{what}: positions");
        for ((loss, next), row) in losses.iter().zip(&ids[1..]).zip(logits.chunks(vocabulary)) {
            found.push(loss.nll as f32);
            wanted.push(log_sum(row) - row[*next as usize]);
            let best = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            // Logits this close may change places; ten times the error of a typical one.
            let close = best - row[loss.top as usize] <= 10.0 * absolute;
            assert!(close, "{what}: token {} taken for the most likely", loss.top);
        }
    }
    // A loss is the difference of two numbers that carry the logits' error.
    let tolerance = (2.0 * absolute + sum_error(vocabulary)) / rms(&wanted) + f64::from(f32::EPSILON);
    assert_close(&format!("{what}: losses"), &found, &wanted, tolerance);
}

/// Compares divergences with those of the very logits the device summed over.
pub(super) fn check_divergence(what: &str, found: &[DivergenceState], p: &[f64], q: &[f64], vocabulary: usize) {
    let rows = p.chunks(vocabulary).zip(q.chunks(vocabulary));
    let wanted: Vec<f64> = rows.clone().map(|(p, q)| kl(p, q)).collect();
    for (state, (p, q)) in found.iter().zip(rows) {
        assert_eq!(state.same_top, top(p) == top(q), "{what}: agreement");
    }
    let kls: Vec<f32> = found.iter().map(|s| s.kl as f32).collect();
    // KL is small and the difference of numbers as large as p - q and as two sums' logarithms.
    let differences: Vec<f64> = p.iter().zip(q).map(|(p, q)| p - q).collect();
    let tolerance = sum_error(vocabulary) * (2.0 + rms(&differences)) / rms(&wanted);
    assert_close(&format!("{what}: divergence"), &kls, &wanted, tolerance);
}

fn kl(p: &[f64], q: &[f64]) -> f64 {
    let (zp, zq) = (log_sum(p), log_sum(q));
    p.iter()
        .zip(q)
        .map(|(p, q)| (p - zp).exp() * ((p - zp) - (q - zq)))
        .sum()
}

fn top(row: &[f64]) -> usize {
    let best = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    row.iter().position(|v| *v == best).unwrap()
}

#[test]
fn losses_match_transformers_logits() {
    for name in &variants() {
        let variant = Variant::open(name);
        for gpu in devices() {
            let decoder = Decoder::new(gpu, &variant.checkpoint, &variant.spec, variant.sequence()).unwrap();
            let activations = decoder.run(&variant.ids, |_| {}).unwrap();
            let losses = decoder.losses(&activations, &variant.ids).unwrap();
            let what = format!("{name} on {}", gpu.name());
            check_losses(
                &what,
                &losses,
                &variant.ids,
                variant.expected("logits"),
                logits_bound(&variant.spec),
            );
        }
    }
}

/// Losses of a second, smaller batch belong to its own sequences.
#[test]
fn losses_of_several_batches_keep_their_order() {
    let variant = Variant::open("rope_llama3");
    let (ids, copies) = variant.two_batches();
    let logits = variant.expected("logits").repeat(copies);
    for gpu in devices() {
        let decoder = Decoder::new(gpu, &variant.checkpoint, &variant.spec, variant.sequence()).unwrap();
        let losses = decoder.losses(&decoder.run(&ids, |_| {}).unwrap(), &ids).unwrap();
        check_losses(
            &format!("batches on {}", gpu.name()),
            &losses,
            &ids,
            &logits,
            logits_bound(&variant.spec),
        );
    }
}

#[test]
fn divergence_of_a_perturbed_copy() {
    for name in PLAIN {
        let variant = Variant::open(name);
        let dir = perturbed(&variant.checkpoint, 0.1);
        let other = Checkpoint::open(dir.path()).unwrap();
        let other_spec = Spec::of(&other).unwrap();
        for gpu in devices() {
            let model = Decoder::new(gpu, &variant.checkpoint, &variant.spec, variant.sequence()).unwrap();
            let copy = Decoder::new(gpu, &other, &other_spec, variant.sequence()).unwrap();
            let (p, q) = (
                model.run(&variant.ids, |_| {}).unwrap(),
                copy.run(&variant.ids, |_| {}).unwrap(),
            );
            let what = format!("{name} on {}", gpu.name());
            let logits = [model.all_logits(&p, 0).unwrap(), copy.all_logits(&q, 0).unwrap()].map(|l| f64s(&l));
            let found = model.divergence(&p, &copy, &q).unwrap();
            check_divergence(&what, &found, &logits[0], &logits[1], variant.spec.vocabulary);
            let same = model.divergence(&p, &model, &p).unwrap();
            assert!(
                same.iter().all(|s| s.kl == 0.0 && s.same_top),
                "{what}: divergence from itself"
            );
        }
    }
}
