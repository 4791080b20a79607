//! An unstructured budget spread over the linears: every linear within the spread, the model at its sparsity.

use serde_json::Value;

use super::Case;
use super::fixture::{Model, linear};

/// Sparsity of each linear as counted in the files.
fn shares(report: &Value) -> Vec<f64> {
    let linears = report["linears"].as_array().unwrap();
    linears.iter().map(|l| l["sparsity"].as_f64().unwrap()).collect()
}

/// Every linear has what was allocated to it, at most `most` from the sparsity, and all together have that but for one
/// weight a linear.
fn assert_budget(report: &Value, sparsity: f64, most: f64) {
    let linears = report["linears"].as_array().unwrap();
    for linear in linears {
        let weights = linear["shape"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap());
        let step = 1.0 / weights.product::<f64>();
        let share = linear["sparsity"].as_f64().unwrap();
        assert!((share - sparsity).abs() <= most + step, "{linear}");
        let asked = report["allocated"][linear["tensor"].as_str().unwrap()]
            .as_f64()
            .unwrap();
        assert!((share - asked).abs() <= step, "{linear}");
    }
    let weights = report["totals"]["weights"].as_f64().unwrap();
    let zeros = report["totals"]["zeros"].as_f64().unwrap();
    assert!(
        (zeros - sparsity * weights).abs() <= 0.5 * linears.len() as f64 + 1.0,
        "{}",
        report["totals"]
    );
}

/// The first layer has some weights far above the rest.
fn with_outliers() -> Case {
    let mut model = Model::small();
    let gate = model.tensor(&linear(0, "mlp.gate_proj"));
    let mut values = gate.values();
    values.iter_mut().step_by(37).for_each(|v| *v *= 40.0);
    gate.set(&values);
    Case::of(&model)
}

#[test]
fn by_every_rule() {
    for rule in ["lsa", "owl", "curvature"] {
        let case = with_outliers();
        let flags = "--sparsity 0.65 --allocation-spread 0.08 --json --allocation";
        let flags: Vec<&str> = flags.split(' ').chain([rule]).collect();
        let report = case.prune(&flags).json();
        assert_eq!(report["settings"]["allocation"], rule);
        let shares = shares(&report);
        if rule == "curvature" {
            assert_budget(&report, 0.65, 0.08);
            assert!(shares.iter().any(|s| (s - shares[0]).abs() > 0.01), "{shares:?}");
            continue;
        }
        // Layers span twice the spread, wherever the budget lies in it.
        assert_budget(&report, 0.65, 0.16);
        let layers: Vec<&[f64]> = shares.chunks(shares.len() / 2).collect();
        let alike = |layer: &&[f64]| layer.iter().all(|s| (s - layer[0]).abs() < 0.01);
        assert!(layers.iter().all(alike), "one share a layer: {shares:?}");
        assert!((layers[0][0] - layers[1][0]).abs() > 0.15, "{shares:?}");
        assert!(
            rule != "owl" || layers[0][0] < layers[1][0],
            "outliers stay: {shares:?}"
        );
    }
}

/// Louder weights lose more when they go, which LSA takes for redundancy.
#[test]
fn a_louder_layer_is_more_redundant() {
    let mut model = Model::small();
    for name in ["mlp.gate_proj", "mlp.up_proj"] {
        let weight = model.tensor(&linear(1, name));
        let values: Vec<f32> = weight.values().iter().map(|v| 8.0 * v).collect();
        weight.set(&values);
    }
    let flags = "--sparsity 0.6 --method wanda --json --allocation lsa";
    let report = Case::of(&model).prune(&flags.split(' ').collect::<Vec<_>>()).json();
    assert_eq!(report["settings"]["spread"], 0.1);
    let shares = shares(&report);
    assert!(shares[shares.len() / 2] > shares[0] + 0.15, "{shares:?}");
}

#[test]
fn on_by_default_from_fifty_percent() {
    let rule = |flags: &str| -> Value {
        let flags: Vec<&str> = flags.split(' ').chain(["--json"]).collect();
        Case::new().prune(&flags).json()["settings"]["allocation"].clone()
    };
    assert_eq!(rule("--sparsity 0.5"), "curvature");
    assert_eq!(rule("--sparsity 0.4"), "uniform");
    assert_eq!(rule("--sparsity 0.7 --method wanda"), "uniform");
    assert_eq!(rule("--pattern 1:4"), "uniform");
}

#[test]
fn a_spread_without_a_rule_is_told_of() {
    let warnings =
        |flags: &str| Case::new().prune(&flags.split(' ').collect::<Vec<_>>()).json()["warnings"].to_string();
    let nothing = warnings("--sparsity 0.4 --allocation-spread 0.1 --json");
    assert!(nothing.contains("`allocation-spread` changed nothing"), "{nothing}");
    assert_eq!(warnings("--sparsity 0.5 --allocation-spread 0.1 --json"), "null");
}

/// Saved statistics stand in for the pass through the model.
#[test]
fn from_saved_statistics() {
    let case = Case::new();
    case.calibrate(&[]).succeeds();
    let flags = ["--sparsity", "0.7", "--allocation", "lsa", "--json"];
    let report = case.with_statistics("prune", &case.output(), &flags).json();
    assert_budget(&report, 0.7, 0.27);
}

#[test]
fn refused_where_it_means_nothing() {
    let case = Case::new();
    let refused = |flags: &[&str], culprits: &[&str]| {
        case.prune(flags).fails(2, culprits);
        assert!(!case.output().exists());
    };
    refused(
        &["--pattern", "2:4", "--allocation", "lsa"],
        &["--allocation lsa", "2:4"],
    );
    refused(
        &["--sparsity", "0.7", "--allocation-spread", "0"],
        &["--allocation-spread 0 "],
    );
    refused(
        &["--sparsity", "0.7", "--allocation-spread=-1"],
        &["--allocation-spread -1 "],
    );
}
