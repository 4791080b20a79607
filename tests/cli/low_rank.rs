//! `prune --lora-steps`: corrections between shots keep every zero, help, and can be resumed.

use std::path::Path;

use serde_json::Value;

use super::fixture::{Model, linear};
use super::structure::{config, golden};
use super::surgeon::{assert_groups, assert_still_zero, pruned, with_zeros, zeros};
use super::{Case, listing, run, secateur, weights};

fn losses(report: &Value) -> Vec<[f64; 2]> {
    let shots = report["shots"].as_array().unwrap().iter();
    shots
        .map(|shot| [0, 1].map(|end| shot["correction"]["loss"][end].as_f64().unwrap()))
        .collect()
}

#[test]
fn the_sparsity_stays_and_the_loss_falls() {
    let (case, zeroed) = with_zeros();
    let report = pruned(&case, "--sparsity 0.5 --shots 2 --lora-steps 40 --lora-rate 0.01");
    let all = report["totals"]["weights"].as_f64().unwrap();
    assert_eq!(zeros(&case, &report), (0.5 * all).round() as usize);
    assert_still_zero(&case, zeroed);
    for [before, after] in losses(&report) {
        assert!(after < before - 0.05, "{before} to {after}");
    }
    assert_eq!(report["shots"][1]["correction"]["rank"], 8);
    assert_eq!(report["shots"][1]["correction"]["steps"], 40);
    assert!(!case.output().join(".secateur").exists());
    case.eval(&["--context", "32"]).succeeds();
}

/// The loss after a correction is the loss of what was written: with a rate that moves nothing, of the pruned model.
#[test]
fn a_rate_of_next_to_nothing_changes_next_to_nothing() {
    let case = Case::new();
    pruned(&case, "--pattern 2:4 --shots 1");
    let plain = weights(&case.output());
    let other = Case::new();
    let report = pruned(&other, "--pattern 2:4 --shots 1 --lora-steps 3 --lora-rate 1e-12");
    assert_groups(&other, &report, [2, 4]);
    for (a, b) in plain.iter().zip(weights(&other.output())) {
        assert_eq!(a.name, b.name);
        for (a, b) in a.values().iter().zip(b.values()) {
            assert!((a - b).abs() <= 1e-6 * a.abs(), "{a} {b}");
        }
    }
}

#[test]
fn of_smaller_models_of_other_families() {
    for (family, structure) in [("phi3", "ffn"), ("gpt2", "ffn"), ("qwen3", "ffn,heads")] {
        let flags = format!("--structure {structure} --sparsity 0.2 --shots 2");
        let case = golden(family);
        let plain = pruned(&case, &flags);
        let shapes = |case: &Case| -> Vec<(String, Vec<usize>)> {
            let stored = weights(&case.output()).into_iter();
            stored.map(|t| (t.name, t.shape)).collect()
        };
        let other = golden(family);
        let report = pruned(&other, &format!("{flags} --lora-steps 30 --lora-rate 0.01"));
        assert_eq!(config(&case.output()), config(&other.output()), "{family}");
        assert_eq!(shapes(&case), shapes(&other), "{family}");
        assert_eq!(plain["shrunk"], report["shrunk"], "{family}");
        assert!(losses(&report).iter().all(|[before, after]| after < before), "{family}");
        assert_ne!(weights(&case.output()), weights(&other.output()), "{family}");
    }
}

/// In a mixture every expert with tokens is corrected.
#[test]
fn experts() {
    let case = golden("mixtral");
    let report = pruned(&case, "--sparsity 0.5 --shots 1 --lora-steps 20 --lora-rate 0.01");
    let all = report["totals"]["weights"].as_f64().unwrap();
    assert_eq!(zeros(&case, &report), (0.5 * all).round() as usize);
    assert!(losses(&report).iter().all(|[before, after]| after < before));
}

/// `prune` with corrections that take long enough to be stopped in.
#[cfg(unix)]
fn long(case: &Case, output: &Path, flags: &str) -> std::process::Command {
    let mut command = secateur();
    command.arg("prune").arg(case.model()).arg("--output").arg(output);
    command.arg("--calibration").arg(case.text());
    let flags = format!("--method surgeon {flags} --samples 24 --length 128 --adapter cpu --lora-steps 24");
    command.args(flags.split(' '));
    command
}

/// Stopped in a correction, the shot before it is kept; the end is the same as in one go.
#[cfg(unix)]
#[test]
fn resumes_after_the_shot_before_a_correction() {
    let start = |case: &Case, output: &Path| long(case, output, "--sparsity 0.5 --shots 2");
    let case = Case::of(&Model::of_layers(8));
    std::fs::write(case.text(), super::fixture::text(20_000)).unwrap();
    let stopped = super::interrupt::interrupted(&mut start(&case, &case.output()), "step 3 of 24");
    assert_eq!(stopped.code, Some(130), "{}", stopped.stderr);
    assert!(stopped.stderr.contains("shots and"), "{}", stopped.stderr);
    run(start(&case, &case.output()).args(["--resume", "--lora-rank", "4"])).fails(1, &["low_rank"]);
    run(start(&case, &case.output()).arg("--resume")).succeeds();
    let whole = case.path("whole");
    run(&mut start(&case, &whole)).succeeds();
    assert_eq!(weights(&case.output()), weights(&whole));
    assert_eq!(listing(&case.output()), listing(&whole));
}

/// Where only a correction is left to do, the report is whole nevertheless.
#[cfg(unix)]
#[test]
fn resumes_within_the_last_correction() {
    for target in ["--sparsity 0.5", "--structure ffn --sparsity 0.3"] {
        let start = |case: &Case, output: &Path| long(case, output, &format!("{target} --shots 1 --json"));
        let case = Case::of(&Model::of_layers(8));
        std::fs::write(case.text(), super::fixture::text(20_000)).unwrap();
        let stopped = super::interrupt::interrupted(&mut start(&case, &case.output()), "step 3 of 24");
        assert_eq!(stopped.code, Some(130), "{}", stopped.stderr);
        run(start(&case, &case.output()).arg("--resume")).succeeds();
        let whole = case.path("whole");
        run(&mut start(&case, &whole)).succeeds();
        let report = |output: &Path| -> Value {
            let mut report: Value =
                serde_json::from_slice(&std::fs::read(output.join("pruning_report.json")).unwrap()).unwrap();
            report["settings"]["output"].take();
            report
        };
        let (found, wanted) = (report(&case.output()), report(&whole));
        assert!(wanted["totals"]["weights"].as_u64().unwrap() > 0);
        assert_eq!(found, wanted, "{target}");
        assert_eq!(weights(&case.output()), weights(&whole));
    }
}

#[test]
fn what_makes_no_sense() {
    let case = Case::new();
    let by_surgeon = |flags: &str, culprits: &[&str]| {
        case.refuses(&format!("--method surgeon --sparsity 0.5 {flags}"), culprits);
    };
    by_surgeon("--lora-steps 5 --lora-rank 0", &["--lora-rank 0"]);
    by_surgeon("--lora-steps 5 --lora-rank 17", &["--lora-rank 17", "k_proj", "16"]);
    by_surgeon("--lora-steps 5 --lora-rate 0", &["--lora-rate 0 "]);
    by_surgeon("--lora-steps 5 --lora-rate 2", &["--lora-rate 2 "]);
    case.refuses(
        "--sparsity 0.5 --lora-steps 5",
        &["--lora-steps", "--method surgeon", "admm"],
    );
    case.prune(&["--method", "surgeon", "--sparsity", "0.5", "--lora-rank", "4"])
        .refused_by_the_parser(&["--lora-steps"]);
}

/// A linear without a gradient stays: nothing reads the queries of a layer whose o is zero.
#[test]
fn without_a_gradient() {
    let mut model = Model::small();
    let o = model.tensor(&linear(0, "self_attn.o_proj"));
    let zeros = vec![0.0; o.values().len()];
    o.set(&zeros);
    let case = Case::of(&model);
    pruned(&case, "--sparsity 0.5 --shots 1 --lora-steps 3 --lora-rate 0.01");
    let stored = weights(&case.output());
    assert!(stored.iter().all(|t| t.values().iter().all(|v| v.is_finite())));
}
