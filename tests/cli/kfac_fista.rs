//! `prune --method kfac-fista` and `--method auto` as a user runs them.

use serde_json::Value;

use super::surgeon::{assert_groups, assert_still_zero, with_zeros, zeros};
use super::{Case, weights};

fn pruned(case: &Case, flags: &str) -> Value {
    let flags = format!("{flags} --json");
    case.prune(&flags.split(' ').collect::<Vec<_>>()).json()
}

fn searched(case: &Case, flags: &str) -> Value {
    pruned(case, &format!("--method kfac-fista {flags}"))
}

/// What the curvature expects the last shot to lose.
fn expected(report: &Value) -> f64 {
    let linears = report["linears"].as_array().unwrap().iter();
    linears.map(|l| l["curvature_cost"][1].as_f64().unwrap()).sum()
}

/// On the same factors: exact zeros, and less expected loss than LLM Surgeon's zeros with their refit.
#[test]
fn the_model_has_its_sparsity_and_loses_less_than_by_llm_surgeon() {
    for sparsity in [0.3, 0.5, 0.7] {
        let case = Case::new();
        let report = searched(&case, &format!("--sparsity {sparsity} --shots 1"));
        let all = report["totals"]["weights"].as_f64().unwrap();
        assert_eq!(zeros(&case, &report), (sparsity * all).round() as usize);
        let zeros = report["totals"]["zeros"].as_f64().unwrap();
        assert_eq!(zeros, (sparsity * all).round());
        let other = Case::new();
        let surgeon = pruned(&other, &format!("--method surgeon --sparsity {sparsity} --shots 1"));
        let shot = &report["shots"][0]["search"];
        let [start, found] = ["start", "expected"].map(|name| shot[name].as_f64().unwrap());
        let same = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-6;
        assert!(same(start, expected(&surgeon)), "{start} {}", expected(&surgeon));
        assert!(same(found, expected(&report)), "{found} {}", expected(&report));
        assert!(found < 0.97 * start, "{sparsity}: {found} of {start}");
        assert!(shot["lambda"].as_f64().unwrap() > 0.0 && shot["round"].as_u64().unwrap() > 0);
        assert_ne!(weights(&case.output()), weights(&other.output()));
        case.eval(&["--context", "32"]).succeeds();
    }
}

#[test]
fn every_group_has_its_pattern() {
    for (pattern, m, kept) in [("2:4", 4, 2), ("4:8", 8, 4), ("1:4", 4, 1)] {
        let case = Case::new();
        let report = searched(&case, &format!("--pattern {pattern} --shots 2"));
        assert_groups(&case, &report, [kept, m]);
        for shot in report["shots"].as_array().unwrap() {
            let [start, found] = ["start", "expected"].map(|name| shot["search"][name].as_f64().unwrap());
            assert!(found <= start, "{pattern}: {shot}");
        }
    }
}

/// The arithmetic of all shots and of the search counts.
#[test]
fn products() {
    let products = |flags: &str| -> f64 {
        let report = pruned(&Case::new(), &format!("--sparsity 0.5 {flags}"));
        let linears = report["linears"].as_array().unwrap().iter();
        linears.map(|l| l["products"].as_f64().unwrap()).sum()
    };
    let [one, two] = [1, 2].map(|shots| products(&format!("--method surgeon --shots {shots}")));
    assert!(two > 1.8 * one, "{one} {two}");
    let [one_searched, two_searched] = [1, 2].map(|shots| products(&format!("--method kfac-fista --shots {shots}")));
    assert!(one_searched > 2.0 * one, "{one_searched} {one}");
    assert!(two_searched > 1.8 * one_searched, "{one_searched} {two_searched}");
}

/// Shots go on from each other; weights that are zero stay so.
#[test]
fn shots() {
    let (case, zeroed) = with_zeros();
    let report = searched(&case, "--sparsity 0.6 --shots 3");
    let all = report["totals"]["weights"].as_f64().unwrap();
    assert_eq!(zeros(&case, &report), (0.6 * all).round() as usize);
    assert_eq!(report["shots"].as_array().unwrap().len(), 3);
    assert_still_zero(&case, zeroed);
    assert!(!case.output().join(".secateur").exists());
}

#[test]
fn what_makes_no_sense() {
    let case = Case::new();
    case.refuses(
        "--sparsity 0.5 --method kfac-fista --refit 0",
        &["--refit 0", "kfac-fista"],
    );
    case.refuses(
        "--sparsity 0.5 --method kfac-fista --max-correlate 40",
        &["--max-correlate", "--method surgeon", "kfac-fista"],
    );
    case.refuses(
        "--sparsity 0.5 --method kfac-fista --structure ffn",
        &["--structure", "--method surgeon"],
    );
    case.refuses(
        "--sparsity 0.5 --method kfac-fista --scope row",
        &["--scope row", "kfac-fista"],
    );
    case.prune(&["--sparsity", "0.5", "--method", "kfac"])
        .refused_by_the_parser(&["'kfac'", "auto", "kfac-fista"]);
}

/// A comparison runs it as `prune` does; `auto` is the method of the regime.
#[test]
fn beside_other_methods() {
    let case = Case::new();
    let flags = "--methods auto,kfac-fista,admm --targets 50%,2:4 --shots 1 --context 32 --windows 4 --json";
    let report = case.compare(&flags.split(' ').collect::<Vec<_>>()).json();
    let cells = report["cells"].as_array().unwrap();
    let names: Vec<&str> = cells.iter().map(|cell| cell["name"].as_str().unwrap()).collect();
    let wanted = [
        "admm-refit10-50",
        "kfac-fista-refit20-50",
        "admm-refit10-2-4",
        "kfac-fista-refit20-2-4",
    ];
    assert_eq!(names, wanted);
    let alone = searched(&Case::new(), "--sparsity 0.5 --shots 1");
    let errors: Vec<f64> = (alone["linears"].as_array().unwrap().iter())
        .map(|l| l["error_after"].as_f64().unwrap())
        .collect();
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    assert!((cells[1]["error"].as_f64().unwrap() - mean).abs() < 1e-12);
}

/// The reason is in the plan and in the report; naming the method gives the same bytes without it.
#[test]
fn auto_says_why() {
    for (flags, method, regime) in [
        ("--sparsity 0.5", "admm", "unstructured sparsity"),
        ("--pattern 2:4", "admm", "N:M patterns"),
        (
            "--sparsity 0.2 --structure ffn --shots 1 --round 1",
            "surgeon",
            "structured pruning",
        ),
    ] {
        let case = Case::new();
        let words: Vec<&str> = flags.split(' ').collect();
        let plan = case.prune(&[&words[..], &["--dry-run"]].concat()).succeeds();
        assert!(plan.contains(&format!("(auto, {regime}")), "{plan}");
        let report = pruned(&case, flags);
        assert_eq!(report["settings"]["method"], method);
        assert!(report["settings"]["chosen"].as_str().unwrap().starts_with(regime));
        let named = Case::new();
        let report = pruned(&named, &format!("{flags} --method {method}"));
        assert!(report["settings"].get("chosen").is_none());
        assert_eq!(weights(&case.output()), weights(&named.output()));
    }
}
