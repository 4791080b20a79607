//! `prune --method surgeon` as a user runs it: exact sparsity, shots, resuming, and what is refused.

use serde_json::Value;

use super::fixture::{Model, linear};
use super::{Case, FLAGS, weights};

const SURGEON: [&str; 3] = ["--method", "surgeon", "--json"];

pub(super) fn pruned(case: &Case, flags: &str) -> Value {
    let flags: Vec<&str> = SURGEON.into_iter().chain(flags.split(' ')).collect();
    case.prune(&flags).json()
}

/// Zeros of the pruned linears in the files.
pub(super) fn zeros(case: &Case, report: &Value) -> usize {
    let stored = weights(&case.output());
    let linears = report["linears"].as_array().unwrap().iter();
    linears
        .map(|l| {
            let tensor = stored.iter().find(|t| t.name == l["tensor"].as_str().unwrap()).unwrap();
            tensor.values().iter().filter(|v| **v == 0.0).count()
        })
        .sum()
}

#[test]
fn the_model_has_its_sparsity_and_linears_their_own() {
    for (sparsity, shots) in [(0.3, 1), (0.5, 3)] {
        let case = Case::new();
        let report = pruned(
            &case,
            &format!("--sparsity {sparsity} --shots {shots} --max-correlate 40"),
        );
        let all = report["totals"]["weights"].as_f64().unwrap();
        assert_eq!(zeros(&case, &report), (sparsity * all).round() as usize);
        assert_eq!(
            report["totals"]["zeros"].as_u64().unwrap() as usize,
            zeros(&case, &report)
        );
        let shares: Vec<f64> = (report["linears"].as_array().unwrap().iter())
            .map(|l| l["sparsity"].as_f64().unwrap())
            .collect();
        assert!(
            shares.iter().any(|s| (s - sparsity).abs() > 0.02),
            "one threshold for all: {shares:?}"
        );
        let rows = report["shots"].as_array().unwrap();
        assert_eq!(rows.len(), shots);
        let steps: Vec<f64> = rows.iter().map(|s| s["sparsity"].as_f64().unwrap()).collect();
        let wanted: Vec<f64> = (1..=shots).map(|s| sparsity * s as f64 / shots as f64).collect();
        assert!(
            steps.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-12),
            "{steps:?}"
        );
        assert!(!case.output().join(".secateur").exists());
        case.eval(&["--context", "32"]).succeeds();
    }
}

#[test]
fn every_group_has_its_pattern() {
    for (pattern, m, kept) in [("2:4", 4, 2), ("4:8", 8, 4), ("1:4", 4, 1)] {
        let case = Case::new();
        let report = pruned(&case, &format!("--pattern {pattern} --shots 2"));
        assert_groups(&case, &report, [kept, m]);
    }
}

/// Every M neighbours in the pruned linears of the files have exactly N that are not zero.
pub(super) fn assert_groups(case: &Case, report: &Value, [kept, m]: [usize; 2]) {
    let stored = weights(&case.output());
    for record in report["linears"].as_array().unwrap() {
        let name = record["tensor"].as_str().unwrap();
        let tensor = stored.iter().find(|t| t.name == name).unwrap();
        for group in tensor.values().chunks(m) {
            assert_eq!(
                group.iter().filter(|v| **v != 0.0).count(),
                kept,
                "{kept}:{m} in {name}"
            );
        }
    }
}

/// A model whose first gate begins with so many zeros.
pub(super) fn with_zeros() -> (Case, usize) {
    let mut model = Model::small();
    let gate = model.tensor(&linear(0, "mlp.gate_proj"));
    let mut values = gate.values();
    let zeroed = values.len() / 4;
    values[..zeroed].fill(0.0);
    gate.set(&values);
    (Case::of(&model), zeroed)
}

/// Those are still zero in the result.
pub(super) fn assert_still_zero(case: &Case, zeroed: usize) {
    let stored = weights(&case.output());
    let gate = stored.iter().find(|t| t.name == linear(0, "mlp.gate_proj")).unwrap();
    assert!(gate.values()[..zeroed].iter().all(|v| *v == 0.0));
}

#[test]
fn zeros_of_a_shot_stay_and_what_was_zero_counts() {
    let (case, zeroed) = with_zeros();
    let report = pruned(&case, "--sparsity 0.4 --shots 4");
    let all = report["totals"]["weights"].as_f64().unwrap();
    assert_eq!(zeros(&case, &report), (0.4 * all).round() as usize);
    assert_still_zero(&case, zeroed);
    assert_eq!(report["totals"]["input_zeros"], zeroed);
}

/// The only shot writes in the output itself.
#[cfg(unix)]
#[test]
fn one_shot_stopped_while_it_writes_leaves_nothing() {
    let case = Case::of(&Model::of_layers(12));
    std::fs::write(case.text(), super::fixture::text(20_000)).unwrap();
    let start = || {
        let mut command = super::secateur();
        command
            .arg("prune")
            .arg(case.model())
            .arg("--output")
            .arg(case.output());
        command.arg("--calibration").arg(case.text());
        let flags = "--method surgeon --sparsity 0.5 --shots 1 --samples 24 --length 128 --adapter cpu";
        command.args(flags.split(' '));
        command
    };
    let stopped = super::interrupt::interrupted(&mut start(), "pruning to");
    stopped.fails(130, &["nothing was written"]);
    assert!(!case.output().exists());
    super::run(&mut start()).succeeds();
}

/// Costs are of a whole linear: a device that cannot bind one is refused before any work.
#[test]
fn linears_beyond_a_binding() {
    let case = Case::new();
    for (flags, advice) in [
        ("--method surgeon", "other methods"),
        ("--method kfac-fista", "other methods"),
        ("--method admm", "--allocation uniform"),
    ] {
        let flags = format!("--sparsity 0.5 --max-binding 4096 {flags}");
        case.prune(&flags.split(' ').collect::<Vec<_>>())
            .fails(4, &["binding", "gate_proj", advice]);
        assert!(!case.output().exists());
    }
    let flags = "--sparsity 0.5 --max-binding 4096 --method admm --allocation uniform";
    case.prune(&flags.split(' ').collect::<Vec<_>>()).succeeds();
}

#[test]
fn what_makes_no_sense() {
    let case = Case::new();
    case.refuses("--sparsity 0.5 --shots 3", &["--shots", "--method surgeon", "admm"]);
    case.refuses(
        "--sparsity 0.5 --fisher sampled",
        &["--fisher", "--method surgeon", "admm"],
    );
    case.refuses(
        "--sparsity 0.1 --structure ffn --score osscar --fisher sampled",
        &["--fisher", "--score surgeon"],
    );
    case.refuses("--sparsity 0.5 --method surgeon --shots 0", &["--shots"]);
    case.refuses(
        "--sparsity 0.5 --method surgeon --max-correlate 0 --refit 0",
        &["--max-correlate 0", "--refit"],
    );
    case.refuses(
        "--sparsity 0.5 --method surgeon --propagate dense",
        &["--propagate", "surgeon"],
    );
    case.refuses(
        "--sparsity 0.5 --method surgeon --output-damping 0",
        &["--output-damping 0 "],
    );
    case.refuses("--sparsity 0.5 --method surgeon --permute on", &["--permute on"]);
    case.refuses("--pattern 3:5 --method surgeon", &["q_proj", "3:5", "32"]);
}

/// Targets drawn by the seed: the same twice, others by another seed, others than the text's.
#[test]
fn targets_drawn_from_the_model() {
    let of = |flags: &str| {
        let case = Case::new();
        let report = pruned(&case, &format!("--sparsity 0.5 --shots 2 --refit 5 {flags}"));
        let all = report["totals"]["weights"].as_f64().unwrap();
        assert_eq!(zeros(&case, &report), (0.5 * all).round() as usize);
        (weights(&case.output()), report)
    };
    let (sampled, report) = of("--fisher sampled");
    assert_eq!(report["settings"]["fisher"], "sampled");
    assert_eq!(of("--fisher sampled").0, sampled);
    let (empirical, other) = of("--fisher empirical");
    assert_eq!(other["settings"]["fisher"], "empirical");
    assert_eq!(of("--seed 0").0, empirical);
    assert_ne!(sampled, empirical);
    // A random model expects its own words rather than the text's: their mean loss is lower.
    let loss = |report: &Value| report["shots"][0]["loss"].as_f64().unwrap();
    assert!(loss(&report) < loss(&other), "{} {}", loss(&report), loss(&other));
}

/// Another curvature, another choice; the promises are the same.
#[test]
fn half_steps_to_the_nearest_product() {
    let of = |flags: &str| {
        let case = Case::new();
        let report = pruned(&case, &format!("--sparsity 0.5 --shots 1 {flags}"));
        let all = report["totals"]["weights"].as_f64().unwrap();
        assert_eq!(zeros(&case, &report), (0.5 * all).round() as usize, "{flags}");
        (weights(&case.output()), report)
    };
    let (plain, report) = of("--half-steps 0");
    assert!(report["settings"]["half_steps"].is_null());
    let mut seen = vec![plain];
    for half_steps in 1..=3 {
        let (found, report) = of(&format!("--half-steps {half_steps}"));
        assert_eq!(report["settings"]["half_steps"], half_steps);
        assert!(!seen.contains(&found), "{half_steps} half-steps changed nothing");
        seen.push(found);
    }
    let flags = "--method kfac-fista --sparsity 0.5 --shots 1 --half-steps 1";
    Case::new().prune(&flags.split(' ').collect::<Vec<_>>()).succeeds();
    let case = Case::new();
    pruned(
        &case,
        "--structure rows,columns --sparsity 0.3 --shots 2 --half-steps 2",
    );
    let flags = "--method surgeon --structure ffn --sparsity 0.2 --half-steps 2";
    let flags: Vec<&str> = flags.split(' ').collect();
    Case::new().prune(&flags).fails(2, &["--half-steps"]);
}

/// Without files for the factors: the same weights and errors, less disk, and no such files.
#[test]
fn factors_gathered_twice() {
    let of = |flags: &str| {
        let case = Case::new();
        let report = pruned(&case, &format!("--shots 2 {flags}"));
        let flags: Vec<&str> = SURGEON.into_iter().chain(flags.split(' ')).collect();
        let plan = case.plan(&FLAGS, &flags);
        (weights(&case.output()), report["linears"].clone(), plan.json())
    };
    let without_seconds = |linears: &Value| -> Vec<Value> {
        let linears = linears.as_array().unwrap().iter().cloned();
        linears
            .map(|mut l| {
                l.as_object_mut().unwrap().remove("seconds");
                l
            })
            .collect()
    };
    for pattern in [
        "--sparsity 0.5",
        "--pattern 2:4 --fisher sampled",
        "--sparsity 0.3 --structure rows,columns",
    ] {
        let (kept, linears, plan) = of(&format!("{pattern} --factors disk"));
        let (again, others, smaller) = of(&format!("{pattern} --factors recompute"));
        assert_eq!(kept, again, "{pattern}");
        assert_eq!(without_seconds(&linears), without_seconds(&others), "{pattern}");
        assert_eq!(plan["factors_on_disk"], true);
        assert_eq!(smaller["factors_on_disk"], false);
        let disk = |plan: &Value| plan["disk_bytes"].as_u64().unwrap();
        assert!(disk(&smaller) < disk(&plan), "{pattern}");
    }
    let case = Case::new();
    for (flags, words) in [
        ("--method kfac-fista --sparsity 0.5", "kfac-fista goes"),
        ("--method surgeon --sparsity 0.5 --half-steps 1", "--half-steps goes"),
        ("--method surgeon --sparsity 0.1 --structure ffn", "single weights"),
        ("--method admm --sparsity 0.5", "--method surgeon"),
    ] {
        case.refuses(&format!("{flags} --factors recompute"), &["--factors", words]);
    }
}

/// A comparison runs it as `prune` does.
#[test]
fn beside_other_methods() {
    let case = Case::new();
    let flags = "--methods magnitude,surgeon --targets 50%,2:4 --shots 2 --context 32 --windows 4 --json";
    let report = case.compare(&flags.split(' ').collect::<Vec<_>>()).json();
    let cells = report["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 4);
    let other = Case::new();
    for cell in cells.iter().filter(|cell| cell["method"] == "surgeon") {
        let target = match cell["target"].as_str().unwrap() {
            "2:4" => "--pattern 2:4",
            _ => "--sparsity 0.5",
        };
        let alone = pruned(&other, &format!("{target} --shots 2"));
        assert_eq!(cell["calibration"]["token_hash"], alone["calibration"]["token_hash"]);
        let errors: Vec<f64> = (alone["linears"].as_array().unwrap().iter())
            .map(|l| l["error_after"].as_f64().unwrap())
            .collect();
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        assert!((cell["error"].as_f64().unwrap() - mean).abs() < 1e-12, "{cell}");
        assert!(cell["evals"][0]["perplexity"].as_f64().unwrap().is_finite());
        std::fs::remove_dir_all(other.output()).unwrap();
    }
}

/// Every shot reads samples of its own, as far as the text has them: with next to nothing removed, the loss before a shot
/// is that of the dense model on them.
#[test]
fn shots_have_samples_of_their_own() {
    let case = Case::new();
    let run = |shots: usize, more: &[&str]| {
        let flags = format!("--samples 20 --length 32 --adapter cpu --sparsity 0.0005 --shots {shots}");
        let flags: Vec<&str> = SURGEON.into_iter().chain(flags.split(' ')).collect();
        let _ = std::fs::remove_dir_all(case.output());
        let report = case.prune_to(&case.output(), &flags, more).json();
        let shots = report["shots"].as_array().unwrap().iter();
        let losses: Vec<f64> = shots.map(|shot| shot["loss"].as_f64().unwrap()).collect();
        (losses, report["calibration"].clone())
    };
    let alike = |a: f64, b: f64| (a - b).abs() < 1e-3;
    let (own, calibration) = run(12, &[]);
    let sets = calibration["sets"].as_u64().unwrap() as usize;
    assert!(
        (2..12).contains(&sets),
        "the text is long enough for some: {calibration}"
    );
    for (i, loss) in own.iter().enumerate() {
        let first = own.iter().position(|other| alike(*loss, *other));
        assert_eq!(first, Some(i % sets), "shot {i} of {own:?}");
    }
    let (same, calibration) = run(3, &["--same-samples"]);
    assert!(
        calibration["sets"].is_null() && same.iter().all(|loss| alike(*loss, same[0])),
        "{same:?}"
    );
    let (_, one) = run(1, &[]);
    assert_eq!(calibration["token_hash"], one["token_hash"]);
    Case::new().refuses(
        "--method admm --sparsity 0.5 --same-samples",
        &["--same-samples", "--method surgeon"],
    );
}

/// Loud inputs do not drown quiet ones, unless asked for as published; scores without gradients are as published.
#[test]
fn what_the_damping_is_a_fraction_of() {
    let run = |flags: &str| {
        let case = Case::new();
        let report = pruned(&case, flags);
        (report["settings"]["damping_rule"].clone(), weights(&case.output()))
    };
    let surgeon = "--sparsity 0.5 --shots 1 --damping 0.3";
    let (rule, own) = run(surgeon);
    assert_eq!(rule, "own");
    let (rule, mean) = run(&format!("{surgeon} --damping-rule mean"));
    assert_eq!(rule, "mean");
    assert_ne!(own, mean);
    for (score, rule) in [("surgeon", "own"), ("osscar", "mean")] {
        let flags = format!("--structure ffn --sparsity 0.2 --shots 1 --score {score}");
        assert_eq!(run(&flags).0, rule, "{score}");
    }
}
