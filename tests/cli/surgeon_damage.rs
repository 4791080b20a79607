//! `prune --method surgeon` on models and texts that are not as they should be: samples without a loss, no gradient, dead
//! rows, too little text.

use serde_json::Value;

use super::fixture::{FFN, HIDDEN, LAYERS, Model, linear, text};
use super::{Case, weights};

const METHODS: [&str; 2] = ["surgeon", "kfac-fista"];

/// Eight samples of 32 tokens.
const USUAL: [&str; 2] = ["8", "32"];

/// On so many samples of so many tokens.
fn run(case: &Case, [samples, length]: [&str; 2], flags: &str) -> super::Run {
    let base = ["--samples", samples, "--length", length, "--adapter", "cpu"];
    case.prune_to(&case.output(), &base, &flags.split(' ').collect::<Vec<_>>())
}

/// Zeros as asked for, all values finite; the report.
fn pruned(case: &Case, size: [&str; 2], method: &str, flags: &str) -> Value {
    let report = run(case, size, &format!("--method {method} --sparsity 0.5 {flags} --json")).json();
    let linears = report["linears"].as_array().unwrap();
    let names: Vec<&str> = linears.iter().map(|l| l["tensor"].as_str().unwrap()).collect();
    let stored = weights(&case.output());
    let values: Vec<f32> = (stored.iter().filter(|t| names.contains(&t.name.as_str())))
        .flat_map(|t| t.values())
        .collect();
    assert!(values.iter().all(|v| v.is_finite()));
    let zeros = values.iter().filter(|v| **v == 0.0).count();
    assert_eq!(zeros, (0.5 * values.len() as f64).round() as usize);
    let costs = linears.iter().map(|l| &l["curvature_cost"]);
    assert!(
        costs
            .flat_map(|c| c.as_array().unwrap())
            .all(|c| c.as_f64().unwrap() >= 0.0)
    );
    report
}

/// A model that is lost on words it does not know (token 0): only their embedding has a first element, nothing writes to
/// that of the residual stream, the last norm takes it beyond the largest number and the head multiplies that by zero.
fn lost_on_unknown_words() -> Model {
    let mut model = Model::small();
    let set_first = |model: &mut Model, name: &str, value: &dyn Fn(usize) -> f32| {
        let tensor = model.tensor(name);
        let (mut values, width) = (tensor.values(), tensor.shape[1]);
        values
            .chunks_mut(width)
            .enumerate()
            .for_each(|(i, row)| row[0] = value(i));
        tensor.set(&values);
    };
    set_first(&mut model, "model.embed_tokens.weight", &|i| {
        if i == 0 { 1000.0 } else { 0.0 }
    });
    set_first(&mut model, "lm_head.weight", &|_| 0.0);
    let norm = model.tensor("model.norm.weight");
    let mut values = norm.values();
    values[0] = 3e38;
    norm.set(&values);
    for layer in 0..LAYERS {
        for name in ["self_attn.o_proj", "mlp.down_proj"] {
            let tensor = model.tensor(&linear(layer, name));
            let (mut values, width) = (tensor.values(), tensor.shape[1]);
            values[..width].fill(0.0);
            tensor.set(&values);
        }
    }
    model
}

/// The words of a text that makes exactly eight samples.
fn eight_samples() -> Vec<String> {
    text(8 * 32).split_whitespace().map(str::to_string).collect()
}

#[test]
fn samples_without_a_finite_loss_are_left_out_and_counted() {
    for method in METHODS {
        let case = Case::of(&lost_on_unknown_words());
        let mut words = eight_samples();
        (words[40], words[200]) = ("strange".into(), "unknown".into());
        std::fs::write(case.text(), words.join(" ")).unwrap();
        let report = pruned(&case, USUAL, method, "--shots 2");
        for shot in report["shots"].as_array().unwrap() {
            assert_eq!(shot["skipped_samples"], 2);
            assert!(shot["loss"].as_f64().unwrap().is_finite());
        }
        let warning = report["warnings"][0].as_str().unwrap();
        assert!(
            warning.starts_with("2 calibration samples had no finite loss"),
            "{warning}"
        );
        assert!(
            report["linears"]
                .as_array()
                .unwrap()
                .iter()
                .all(|l| l["tokens"] == 6 * 32)
        );
        // The same as without these two.
        let kept: Vec<String> = (words.chunks(32).enumerate())
            .filter(|(i, _)| ![1, 6].contains(i))
            .flat_map(|(_, sample)| sample.to_vec())
            .collect();
        let without = Case::of(&lost_on_unknown_words());
        std::fs::write(without.text(), kept.join(" ")).unwrap();
        let other = pruned(&without, ["6", "32"], method, "--shots 2");
        assert_eq!(other["shots"][0]["skipped_samples"], 0);
        assert_eq!(weights(&case.output()), weights(&without.output()));
    }
}

/// A correction's step of such a sample moves nothing.
#[test]
fn steps_of_samples_without_a_finite_loss() {
    let case = Case::of(&lost_on_unknown_words());
    let mut words = eight_samples();
    (words[40], words[200]) = ("strange".into(), "unknown".into());
    std::fs::write(case.text(), words.join(" ")).unwrap();
    let flags = "--shots 1 --lora-steps 16 --lora-rate 0.01";
    let report = pruned(&case, USUAL, "surgeon", flags);
    let correction = &report["shots"][0]["correction"];
    assert_eq!(correction["skipped_steps"], 4);
    let [before, after] = [0, 1].map(|end| correction["loss"][end].as_f64().unwrap());
    assert!(after < before, "{before} {after}");
    let stored = weights(&case.output());
    assert!(stored.iter().all(|t| t.values().iter().all(|v| v.is_finite())));
}

#[test]
fn no_sample_with_a_finite_loss() {
    for method in METHODS {
        let case = Case::of(&lost_on_unknown_words());
        std::fs::write(case.text(), "strange ".repeat(8 * 32)).unwrap();
        let culprits = ["no calibration sample has a finite loss", "damaged"];
        run(&case, USUAL, &format!("--method {method} --sparsity 0.5")).fails(2, &culprits);
        assert!(!case.output().exists());
    }
}

/// A head of zeros: the loss is the same whatever the model does, every cost is zero.
#[test]
fn no_gradient_at_all() {
    for method in METHODS {
        let mut model = Model::small();
        let head = model.tensor("lm_head.weight");
        let values = vec![0.0; head.values().len()];
        head.set(&values);
        let case = Case::of(&model);
        let report = pruned(&case, USUAL, method, "--shots 2");
        let loss = report["shots"][0]["loss"].as_f64().unwrap();
        assert!((loss - (super::fixture::VOCABULARY as f64).ln()).abs() < 1e-4, "{loss}");
        assert_eq!(report["shots"][0]["skipped_samples"], 0);
    }
}

/// Neurons that are off: rows of gate and up that are zero, so inputs of down without any energy.
#[test]
fn dead_rows() {
    for method in METHODS {
        let mut model = Model::small();
        for name in ["mlp.gate_proj", "mlp.up_proj"] {
            let tensor = model.tensor(&linear(1, name));
            let mut values = tensor.values();
            values[7 * HIDDEN..10 * HIDDEN].fill(0.0);
            tensor.set(&values);
        }
        let case = Case::of(&model);
        let report = pruned(&case, USUAL, method, "--shots 2");
        let linears = report["linears"].as_array().unwrap();
        let down = linears
            .iter()
            .find(|l| l["tensor"] == linear(1, "mlp.down_proj"))
            .unwrap();
        assert_eq!(down["dead_inputs"], 3);
        assert_eq!(report["totals"]["input_zeros"], 2 * 3 * HIDDEN);
        // What reads a dead input costs nothing and goes first.
        let stored = weights(&case.output());
        let down = stored.iter().find(|t| t.name == linear(1, "mlp.down_proj")).unwrap();
        for row in down.values().chunks(FFN) {
            assert!(row[7..10].iter().all(|v| *v == 0.0), "{row:?}");
        }
    }
}

#[test]
fn fewer_samples_than_needed() {
    for method in METHODS {
        // More than there are in the text.
        let case = Case::new();
        let culprits = ["text.txt", "2000 tokens", "62 samples of 32", "70 were asked for"];
        run(&case, ["70", "32"], &format!("--method {method} --sparsity 0.5")).fails(1, &culprits);
        assert!(!case.output().exists());
        // Fewer tokens than a linear has inputs: curvature of too low a rank.
        let case = Case::new();
        let report = pruned(&case, ["1", "8"], method, "--shots 1");
        for linear in report["linears"].as_array().unwrap() {
            assert_eq!(linear["tokens"], 8);
            let cost = &linear["curvature_cost"];
            assert!(cost[1].as_f64().unwrap() <= cost[0].as_f64().unwrap(), "{linear}");
        }
    }
}
