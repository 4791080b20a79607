//! `--propagate`: which inputs a layer sees and which outputs it is held to, against plain forward passes in f64.

use std::collections::BTreeMap;

use safetensors::Dtype;
use secateur::calib::{Corpus, SampleSpec, Tokenizer, draw};
use secateur::checkpoint::Checkpoint;
use secateur::model::{ActivationSite, Spec};
use serde_json::Value;

use super::fixture::Model;
use super::structure::golden;
use super::{Case, FLAGS, weights};
use crate::common::f64s;
use crate::golden::plain::Plain;

const SAMPLES: usize = 8;
const LENGTH: usize = 32;

/// A pruned linear: weights `[outputs, inputs]` before and after, and inputs `[tokens, inputs]`: the target's, the solver's.
struct Linear {
    inputs: usize,
    before: Vec<f64>,
    after: Vec<f64>,
    target: Vec<f64>,
    seen: Vec<f64>,
}

/// All linears of a finished run by name, with the inputs that `propagate` says.
fn linears(case: &Case, propagate: &str) -> BTreeMap<String, Linear> {
    let [old, new] = [case.model(), case.output()].map(|folder| Checkpoint::open(&folder).unwrap());
    let spec = Spec::of(&old).unwrap();
    let [dense, pruned] = [&old, &new].map(|checkpoint| Plain {
        checkpoint,
        spec: &spec,
        sequence: LENGTH,
    });
    let samples = SampleSpec {
        samples: SAMPLES,
        length: LENGTH,
        seed: 0,
        bos: spec.bos.filter(|_| spec.needs_bos),
    };
    let tokenizer = Tokenizer::open(&case.model()).unwrap();
    let ids = draw(&Corpus::read(&case.text()).unwrap(), &tokenizer, &samples)
        .unwrap()
        .ids;
    let embedded = dense.embed(&ids);
    let (mut dense_stream, mut pruned_stream) = (embedded.clone(), embedded);
    let mut out = BTreeMap::new();
    for layer in 0..spec.layers {
        let (target, seen) = match propagate {
            "dense" => (dense.layer(layer, &dense_stream), pruned.layer(layer, &dense_stream)),
            "local" => (dense.layer(layer, &pruned_stream), pruned.layer(layer, &pruned_stream)),
            "layer" => (dense.layer(layer, &pruned_stream), dense.layer(layer, &pruned_stream)),
            "both" => (dense.layer(layer, &dense_stream), pruned.layer(layer, &pruned_stream)),
            _ => (pruned.layer(layer, &pruned_stream), pruned.layer(layer, &pruned_stream)),
        };
        let at = |sites: &[(ActivationSite, Vec<f64>)], wanted: ActivationSite| {
            sites.iter().find(|(site, _)| *site == wanted).unwrap().1.clone()
        };
        for group in spec.groups(layer).unwrap() {
            for linear in &group.linears {
                let [before, after] = [&old, &new].map(|c| f64s(&c.tensor(&linear.tensor).unwrap().to_f32()));
                let linear_of = Linear {
                    inputs: linear.shape[1],
                    before,
                    after,
                    target: at(&target, group.input),
                    seen: at(&seen, group.input),
                };
                out.insert(linear.tensor.clone(), linear_of);
            }
        }
        dense_stream = at(&dense.layer(layer, &dense_stream), ActivationSite::Output);
        pruned_stream = at(&pruned.layer(layer, &pruned_stream), ActivationSite::Output);
    }
    out
}

impl Linear {
    /// `‖V X* − W X‖² / ‖W X‖²`.
    fn error(&self) -> f64 {
        let (mut lost, mut energy) = (0.0, 0.0);
        for (target, seen) in self.target.chunks(self.inputs).zip(self.seen.chunks(self.inputs)) {
            for (w, v) in self.before.chunks(self.inputs).zip(self.after.chunks(self.inputs)) {
                let [wanted, found] = [dot(w, target), dot(v, seen)];
                lost += (found - wanted) * (found - wanted);
                energy += wanted * wanted;
            }
        }
        lost / energy
    }

    /// The gradient of `‖V X* − W (a X + (1 − a) X*)‖² + Σ_j damping h_j ‖v_j − w_j‖²`, h the energies of X*, where V is not
    /// zero, over its norm where the target is dropped.
    fn slope(&self, correction: f64, damping: f64) -> f64 {
        let outputs = self.before.len() / self.inputs;
        let mut energy = vec![0.0; self.inputs];
        let (mut slope, mut scale) = (vec![0.0; self.before.len()], vec![0.0; self.before.len()]);
        for (target, seen) in self.target.chunks(self.inputs).zip(self.seen.chunks(self.inputs)) {
            energy.iter_mut().zip(seen).for_each(|(sum, x)| *sum += x * x);
            for row in 0..outputs {
                let at = row * self.inputs..(row + 1) * self.inputs;
                let (w, v) = (&self.before[at.clone()], &self.after[at.clone()]);
                let wanted = correction * dot(w, target) + (1.0 - correction) * dot(w, seen);
                let found = dot(v, seen);
                for ((slope, scale), x) in slope[at.clone()].iter_mut().zip(&mut scale[at]).zip(seen) {
                    *slope += (found - wanted) * x;
                    *scale += found * x;
                }
            }
        }
        let (mut lost, mut whole) = (0.0, 0.0);
        for (i, (slope, scale)) in slope.iter().zip(&scale).enumerate() {
            if self.after[i] != 0.0 {
                let pull = damping * energy[i % self.inputs] * (self.after[i] - self.before[i]);
                lost += (slope + pull).powi(2);
                whole += scale.powi(2);
            }
        }
        (lost / whole).sqrt()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn model() -> Case {
    let mut model = Model::small();
    model.store_as(Dtype::F32);
    Case::of(&model)
}

fn report(case: &Case, flags: &str) -> Value {
    let report = case.prune(&flags.split(' ').collect::<Vec<_>>()).json();
    assert_eq!(
        FLAGS[..4],
        ["--samples", &SAMPLES.to_string(), "--length", &LENGTH.to_string()]
    );
    report
}

#[test]
fn errors_are_against_the_right_outputs() {
    for propagate in ["dense", "local", "both", "pruned", "layer"] {
        let case = model();
        let inputs = match propagate {
            // The default of the method.
            "layer" => String::new(),
            other => format!(" --within linear --propagate {other}"),
        };
        let flags = format!("--pattern 2:4 --method sparsegpt --json{inputs}");
        let report = report(&case, &flags);
        let linears = linears(&case, propagate);
        for record in report["linears"].as_array().unwrap() {
            let name = record["tensor"].as_str().unwrap();
            let (found, wanted) = (record["error_after"].as_f64().unwrap(), linears[name].error());
            assert!(
                (found / wanted - 1.0).abs() < 1e-3,
                "{propagate} {name}: {found} {wanted}"
            );
        }
    }
}

/// A refit until nothing moves is the minimum of the very problem that the flags state.
#[test]
fn a_refit_is_stationary_for_the_right_target() {
    for (propagate, correction) in [
        ("dense", 1.0),
        ("local", 0.5),
        ("both", 0.5),
        ("both", 1.0),
        ("pruned", 1.0),
        ("layer", 1.0),
    ] {
        let case = model();
        let flags = "--sparsity 0.5 --method magnitude --refit 400 --damping 0.01 --damping-rule own --json";
        let inputs = match propagate {
            "layer" => String::new(),
            other => format!(" --within linear --propagate {other}"),
        };
        report(&case, &format!("{flags}{inputs} --correction {correction}"));
        for (name, linear) in linears(&case, propagate) {
            let slope = linear.slope(correction, 0.01);
            assert!(slope < 1e-4, "{propagate} {correction} {name}: {slope}");
        }
    }
}

/// What is not corrected is not seen: with a share of nothing all pruned inputs are alike, in every family's layers.
#[test]
fn without_a_correction_the_dense_stream_changes_nothing() {
    let cases: [fn() -> Case; 3] = [model, || golden("gpt_neox"), || golden("mixtral")];
    for make in cases {
        let pruned = |flags: &str| {
            let case = make();
            let flags = format!("--pattern 2:4 --method sparsegpt --json --within linear {flags}");
            let errors: Vec<f64> = report(&case, &flags)["linears"]
                .as_array()
                .unwrap()
                .iter()
                .map(|linear| linear["error_after"].as_f64().unwrap())
                .collect();
            (weights(&case.output()), errors)
        };
        let (wanted, _) = pruned("--propagate pruned");
        let (both, errors) = pruned("--propagate both --correction 0");
        let (local, fewer) = pruned("--propagate local --correction 0");
        assert!(both == wanted && local == wanted);
        // Against the dense model's own outputs there is more to lose.
        assert!(
            errors.iter().sum::<f64>() > fewer.iter().sum::<f64>(),
            "{errors:?} {fewer:?}"
        );
        // With one, it does.
        assert!(pruned("--propagate both --correction 1").0 != wanted);
    }
}
