//! T3: every `_backward` twin in f64 against central differences of its forward twin in f64.
//!
//! The loss is `Σ c_i f(x)_i` with random `c`, so that its gradient with respect to `f(x)` is `c`.

mod attention;
mod elementwise;
mod norms;

use crate::common::{Data, f64s};

/// A step for differences: their truncation error is about its square, their rounding error about epsilon over it.
const STEP: f64 = 1e-5;

/// Numbers between -1 and 1.
fn random(seed: u64, n: usize) -> Vec<f64> {
    f64s(&Data::new(seed).uniform(n))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Central differences of `loss` at `x`.
fn differences(x: &[f64], loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut near = x.to_vec();
    (0..x.len())
        .map(|i| {
            let mut at = |value: f64| {
                near[i] = value;
                loss(&near)
            };
            let difference = at(x[i] + STEP) - at(x[i] - STEP);
            near[i] = x[i];
            difference / (2.0 * STEP)
        })
        .collect()
}

/// Fails unless `found` is near the differences of `loss` at `x`: their errors are `STEP²` of third derivatives, which are
/// within a hundred for these functions and arguments, and `eps / STEP` of the loss.
#[track_caller]
fn assert_gradient(what: &str, found: &[f64], x: &[f64], loss: impl Fn(&[f64]) -> f64) {
    let wanted = differences(x, &loss);
    let bound = 100.0 * STEP * STEP + 8.0 * f64::EPSILON / STEP * (1.0 + loss(x).abs());
    assert_eq!(found.len(), wanted.len(), "{what}: length");
    for (i, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
        let error = (found - wanted).abs();
        assert!(
            error <= bound,
            "{what}: element {i} is {found}, differences give {wanted}; {error:.1e} > {bound:.1e}"
        );
    }
    assert!(
        wanted.iter().any(|w| w.abs() > 100.0 * bound),
        "{what}: nothing but zeros to compare"
    );
}
