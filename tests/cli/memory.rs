//! Resident memory: what a plan predicts is what a process takes, whatever the run and however deep the model; and a limit
//! is kept by the process as the system sees it, or refused.
//!
//! Peaks are the kernel's own high-water marks, which do not depend on when anybody looks, and hardly on timing: freed
//! blocks go back to the system at once, so a peak is that of the largest moment. What is left to chance are the pages of
//! the program's file, and how many threads pack a product at the same time.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::fixture::{Model, text};
use super::{Case, secateur};

/// What the pages of the program and the threads may differ by.
const CHANCE: f64 = 5.0 * MIB;
const MIB: f64 = (1 << 20) as f64;
const TOKENS: [&str; 6] = ["--samples", "64", "--length", "64", "--adapter", "cpu"];

const LAYERWISE: &str = "prune --pattern 2:4 --method wanda --refit 2 --propagate local";
const ALLOCATED: &str = "prune --sparsity 0.5 --method wanda --allocation curvature";
const SURGEON: &str = "prune --sparsity 0.5 --method surgeon --shots 1";
const STRUCTURED: &str = "prune --sparsity 0.3 --method surgeon --structure ffn,heads --score flap";
const CALIBRATE: &str = "calibrate";
const STATISTICS: &str = "prune --pattern 2:4 --method sparsegpt --statistics";
const COMPARE: &str = "compare --methods magnitude+0,wanda+0 --targets 2:4 --windows 16 --context 64";

/// Hidden size 192: 3 MiB a stream, and tens of MiB of activations in a layer.
fn case(layers: usize) -> Case {
    let case = Case::of(&Model::of_sizes(layers, 6));
    std::fs::write(case.text(), text(6000)).unwrap();
    case
}

/// The command line of a kind of run.
fn command(case: &Case, kind: &str, more: &[&str]) -> Command {
    let mut words = kind.split(' ');
    let mut command = secateur();
    command.arg(words.next().unwrap()).arg(case.model());
    if !more.contains(&"--output") {
        command.arg("--output").arg(case.output());
    }
    command.args(words);
    if kind == STATISTICS {
        command.arg(statistics(case)).args(["--adapter", "cpu"]);
    } else {
        command.arg("--calibration").arg(case.text()).args(TOKENS);
    }
    if kind == COMPARE {
        command.arg("--eval").arg(case.text());
    }
    command.arg("--json").args(more);
    command
}

/// Saved once.
fn statistics(case: &Case) -> std::path::PathBuf {
    let folder = case.path("statistics");
    if !folder.exists() {
        let mut calibrate = command(case, CALIBRATE, &["--output", folder.to_str().unwrap()]);
        assert!(calibrate.output().unwrap().status.success());
    }
    folder
}

/// A process that has ended: its report, and the most that was resident as seen from outside and by itself.
fn watched(case: &Case, kind: &str, more: &[&str]) -> (Value, f64) {
    let out = case.path("stdout");
    let mut child = command(case, kind, more)
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0_f64;
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(high_water(Path::new(&status)));
        std::thread::sleep(Duration::from_millis(1));
    }
    let ended = child.wait_with_output().unwrap();
    assert!(
        ended.status.success(),
        "{kind} {more:?}: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
    let report: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    std::fs::remove_dir_all(case.output()).unwrap();
    let own = report["memory"]["host_peak"].as_f64().unwrap();
    (report, peak.max(own))
}

fn high_water(status: &Path) -> f64 {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    1024.0 * kib.unwrap_or_default()
}

/// Holds the predictions for a kind of run at some depths against what was taken; how they compare.
fn as_predicted(kind: &str, depths: &[usize]) {
    for layers in depths {
        let case = case(*layers);
        let (report, peak) = watched(&case, kind, &[]);
        let predicted = report["memory"]["predicted_host"].as_f64().unwrap();
        let words = format!(
            "{kind}, {layers} layers: {:.1} MiB predicted, {:.1} taken",
            predicted / MIB,
            peak / MIB
        );
        assert!(peak <= predicted, "{words}");
        assert!(predicted <= 1.1 * peak + CHANCE, "{words}");
    }
}

#[test]
fn layer_by_layer() {
    as_predicted(LAYERWISE, &[2, 8, 32]);
}

#[test]
fn with_an_allocation() {
    as_predicted(ALLOCATED, &[2, 8]);
}

#[test]
fn saving_statistics() {
    as_predicted(CALIBRATE, &[2, 8, 32]);
}

#[test]
fn from_statistics() {
    as_predicted(STATISTICS, &[2, 8]);
}

#[test]
fn by_gradients() {
    as_predicted(SURGEON, &[2, 8]);
}

#[test]
fn whole_units() {
    as_predicted(STRUCTURED, &[2, 8, 32]);
}

#[test]
fn a_comparison() {
    as_predicted(COMPARE, &[2, 8]);
}

/// What a plan says before is what the run's report holds it to.
#[test]
fn a_plan_predicts_as_the_run_does() {
    let case = case(2);
    for kind in [LAYERWISE, ALLOCATED, SURGEON, STRUCTURED] {
        let (report, _) = watched(&case, kind, &[]);
        let plan = command(&case, &kind.replacen("prune", "plan", 1), &[])
            .output()
            .unwrap();
        let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
        let base = if plan["base"].is_object() { &plan["base"] } else { &plan };
        assert_eq!(base["host_bytes"], report["memory"]["predicted_host"], "{kind}");
    }
}

/// The least limit that is not refused is kept, to 1 MiB of chance, by smaller batches and blocks and files.
#[test]
fn a_limit_is_kept_or_refused() {
    let case = case(4);
    for kind in [
        LAYERWISE, ALLOCATED, CALIBRATE, STATISTICS, SURGEON, STRUCTURED, COMPARE,
    ] {
        let refused = command(&case, kind, &["--max-ram", "1MiB"]).output().unwrap();
        let message = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(4), "{kind}: {message}");
        assert!(!case.output().exists(), "{kind}");
        let least = message.split("at least ").nth(1).unwrap().split(' ').next().unwrap();
        let least: f64 = least.parse().unwrap();
        let below = format!("{}MiB", least - 2.0);
        let refused = command(&case, kind, &["--max-ram", &below]).output().unwrap();
        assert_eq!(refused.status.code(), Some(4), "{kind} in {below}");
        let (report, peak) = watched(&case, kind, &["--max-ram", &format!("{least}MiB")]);
        assert!(
            peak <= (least + 1.0) * MIB,
            "{kind} took {:.1} of {least} MiB",
            peak / MIB
        );
        let predicted = report["memory"]["predicted_host"].as_f64().unwrap();
        assert!(predicted <= least * MIB, "{kind}: {predicted} of {least} MiB");
    }
}
