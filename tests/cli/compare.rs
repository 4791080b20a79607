//! `compare`: the numbers are those of `prune` and `eval`, a stopped comparison goes on, and what is refused.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::fixture::text;
use super::{Case, FLAGS, Run, listing, run, secateur};

/// Two methods and two targets on short windows.
const TABLE: [&str; 10] = [
    "--methods",
    "magnitude,wanda+3",
    "--targets",
    "50%,2:4",
    "--refit",
    "0",
    "--context",
    "32",
    "--windows",
    "6",
];
const NAMES: [&str; 4] = [
    "magnitude-50",
    "wanda-refit3-50-of-each-row",
    "magnitude-2-4",
    "wanda-refit3-2-4",
];

impl Case {
    fn compare_command(&self, more: &[&str]) -> Command {
        let mut command = secateur();
        command
            .arg("compare")
            .arg(self.model())
            .arg("--output")
            .arg(self.output());
        command
            .arg("--eval")
            .arg(self.text())
            .args(["--adapter", "cpu"])
            .args(more);
        command
    }

    /// `secateur compare` of the checkpoint with few short samples.
    pub(super) fn compare(&self, more: &[&str]) -> Run {
        let mut command = self.compare_command(&FLAGS[..4]);
        command.arg("--calibration").arg(self.text());
        run(command.args(more))
    }

    fn results(&self) -> Value {
        serde_json::from_slice(&fs::read(self.output().join("compare.json")).unwrap()).unwrap()
    }
}

fn names(report: &Value) -> Vec<String> {
    let cells = report["cells"].as_array().unwrap().iter();
    cells.map(|cell| cell["name"].as_str().unwrap().to_string()).collect()
}

/// Lines of a CSV file whose fields have no commas.
fn csv(case: &Case) -> Vec<Vec<String>> {
    let text = fs::read_to_string(case.output().join("compare.csv")).unwrap();
    text.lines()
        .map(|line| line.split(',').map(String::from).collect())
        .collect()
}

#[test]
fn methods_by_targets() {
    let case = Case::new();
    let table = case.compare(&TABLE).succeeds();
    assert_eq!(listing(&case.output()), ["compare.csv", "compare.json", "compare.md"]);
    assert!(!case.output().join(".secateur").exists());
    assert_eq!(fs::read_to_string(case.output().join("compare.md")).unwrap(), table);
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).collect();
    // Header, rule, dense and four rows; then the layer errors.
    assert_eq!(rows.len(), 7 + 6, "{table}");
    assert!(rows[2].contains("dense") && rows[3].contains("magnitude") && rows[4].contains("wanda + refit 3"));
    let report = case.results();
    assert_eq!(names(&report), NAMES);
    let lines = csv(&case);
    assert_eq!(lines.len(), 6);
    assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{lines:?}");
    let column = |name: &str| {
        lines[0]
            .iter()
            .position(|h| h == name)
            .unwrap_or_else(|| panic!("{name}: {lines:?}"))
    };
    let number = |line: usize, name: &str| lines[line][column(name)].parse::<f64>().unwrap();
    assert_eq!(lines[1][0], "dense");
    let dense = report["dense"][0]["perplexity"].as_f64().unwrap();
    assert_eq!(number(1, "perplexity:text.txt"), dense);
    for (i, cell) in report["cells"].as_array().unwrap().iter().enumerate() {
        let eval = &cell["evals"][0];
        assert_eq!(
            number(i + 2, "perplexity:text.txt"),
            eval["perplexity"].as_f64().unwrap()
        );
        assert_eq!(number(i + 2, "kl:text.txt"), eval["kl_divergence"].as_f64().unwrap());
        assert!(number(i + 2, "kl:text.txt") > 0.0 && number(i + 2, "perplexity_se:text.txt") > 0.0);
        assert_eq!(cell["roles"].as_array().unwrap().len(), 7);
        assert!(number(i + 2, "error_down") > 0.0 && number(i + 2, "layer_error") > 0.0);
        assert!(number(i + 2, "solve_s") > 0.0 && number(i + 2, "device_peak_bytes") > 0.0);
        assert!((cell["sparsity"].as_f64().unwrap() - 0.5).abs() < 1e-3);
        // Not what evaluations of earlier rows left.
        let memory = &cell["memory"];
        let bytes = |name: &str| memory[name].as_u64().unwrap();
        assert!(bytes("device_peak") <= bytes("predicted_device"), "{memory}");
        assert_eq!(cell["checkpoint"], Value::Null);
    }
}

/// A row says what `prune` and `eval --against` say.
#[test]
fn the_numbers_of_prune_and_eval() {
    let case = Case::new();
    let report = case.compare(&[&TABLE[..], &["--json"]].concat()).json();
    assert_eq!(report, case.results());
    let cell = &report["cells"][3];
    let pruned = case.path("pruned");
    let flags = ["--pattern", "2:4", "--method", "wanda", "--refit", "3", "--json"];
    let prune = case.prune_to(&pruned, &FLAGS, &flags).json();
    for role in cell["roles"].as_array().unwrap() {
        let linears = prune["linears"].as_array().unwrap().iter();
        let errors: Vec<f64> = linears
            .filter(|l| l["role"] == role["role"])
            .map(|l| l["error_after"].as_f64().unwrap())
            .collect();
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        assert!((role["after"].as_f64().unwrap() - mean).abs() <= 4.0 * f64::EPSILON * mean);
    }
    let mut command = secateur();
    command.arg("eval").arg(&pruned).arg("--text").arg(case.text());
    command.arg("--against").arg(case.model());
    let eval = run(command.args(["--context", "32", "--windows", "6", "--adapter", "cpu", "--json"])).json();
    for key in [
        "nll",
        "perplexity",
        "standard_error",
        "kl_divergence",
        "kl_standard_error",
        "top1_agreement",
    ] {
        assert_eq!(cell["evals"][0][key], eval[key], "{key}");
    }
    let dense = case.eval(&["--context", "32", "--windows", "6", "--json"]).json();
    assert_eq!(report["dense"][0]["nll"], dense["nll"]);
}

#[test]
fn texts_seeds_and_kept_checkpoints() {
    let case = Case::new();
    fs::write(case.path("other.txt"), text(500)).unwrap();
    let (other, kept) = (case.path("other.txt"), case.path("kept"));
    let more = [
        "--method",
        "wanda",
        "--pattern",
        "2:4",
        "--refit",
        "0",
        "--context",
        "32",
        "--seeds",
        "0,1",
        "--eval",
        other.to_str().unwrap(),
        "--keep",
        kept.to_str().unwrap(),
    ];
    let table = case.compare(&more).succeeds();
    for words in ["seed", "ppl text.txt", "ppl other.txt"] {
        assert!(table.contains(words), "{table}");
    }
    let report = case.results();
    assert_eq!(names(&report), ["wanda-2-4", "wanda-2-4-seed1"]);
    for (cell, seed) in report["cells"].as_array().unwrap().iter().zip(0..) {
        assert_eq!(
            (cell["seed"].as_i64(), cell["calibration"]["seed"].as_i64()),
            (Some(seed), Some(seed))
        );
        let folder = kept.join(cell["name"].as_str().unwrap());
        assert_eq!(cell["checkpoint"], folder.display().to_string());
        assert!(folder.join("model.safetensors").is_file());
        assert_eq!(cell["evals"][1]["text"], other.display().to_string());
        assert_eq!(cell["evals"][1]["windows"], 500 / 32);
    }
    let hash = |i: usize| &report["cells"][i]["calibration"]["token_hash"];
    assert_ne!(hash(0), hash(1));
}

/// A row that is done is done again where its checkpoint is wanted now.
#[test]
fn kept_later() {
    let case = Case::new();
    let row = [&["--methods", "wanda", "--targets", "2:4"], &TABLE[4..]].concat();
    case.compare(&row).succeeds();
    let before = case.results();
    let kept = case.path("kept");
    let with = [&row[..], &["--keep", kept.to_str().unwrap()]].concat();
    case.compare(&with).succeeds();
    assert!(kept.join("wanda-2-4/model.safetensors").is_file());
    let after = case.results();
    let perplexity = |report: &Value| report["cells"][0]["evals"][0]["perplexity"].clone();
    assert_eq!(perplexity(&after), perplexity(&before));
    // With it or without, it is done now.
    case.compare(&with).succeeds();
    case.compare(&row).succeeds();
    assert_eq!(lasting(&case.results()), lasting(&after));
}

/// Calls of the attention kernel by the table of `--profile`.
fn attentions(run: &Run) -> usize {
    let line = run.stderr.lines().find(|line| line.starts_with("nn/attention "));
    let calls = line
        .unwrap_or_else(|| panic!("{}", run.stderr))
        .split_whitespace()
        .nth(1);
    calls.unwrap().parse().unwrap()
}

#[test]
fn from_statistics() {
    let case = Case::new();
    case.calibrate(&[]).succeeds();
    let folder = case.statistics();
    let mut command = case.compare_command(&TABLE);
    command.arg("--statistics").arg(&folder);
    let compared = run(command.arg("--profile"));
    // Nothing but the evaluations goes through the model: the dense one and those of the rows.
    let evaluated = case.eval(&["--context", "32", "--windows", "6", "--profile"]);
    assert_eq!(attentions(&compared), (1 + NAMES.len()) * attentions(&evaluated));
    compared.succeeds();
    let report = case.results();
    assert_eq!(names(&report), NAMES);
    for cell in report["cells"].as_array().unwrap() {
        assert!(cell["settings"]["statistics"].is_string());
    }
    run(command.args(["--seeds", "1"])).refused_by_the_parser(&["--seeds", "--statistics"]);
}

/// Everything but times and memory.
fn lasting(report: &Value) -> Value {
    let mut report = report.clone();
    report["memory"].take();
    for record in report["dense"].as_array_mut().unwrap() {
        record["seconds"].take();
    }
    for cell in report["cells"].as_array_mut().unwrap() {
        for key in ["phases", "memory"] {
            cell[key].take();
        }
        for record in cell["evals"].as_array_mut().unwrap() {
            record["seconds"].take();
        }
    }
    report
}

#[cfg(unix)]
mod stopped {
    use super::super::fixture::Model;
    use super::super::held::Held;
    use super::super::interrupt::interrupted;
    use super::*;

    /// Some tenths of a second a row.
    fn job() -> Case {
        let case = Case::of(&Model::of_layers(6));
        fs::write(case.text(), text(20_000)).unwrap();
        case
    }

    fn command(case: &Case) -> Command {
        by(case, &TABLE[..6])
    }

    fn by(case: &Case, rows: &[&str]) -> Command {
        let mut command = case.compare_command(rows);
        command.args([
            "--context",
            "32",
            "--windows",
            "60",
            "--samples",
            "48",
            "--length",
            "64",
        ]);
        command.arg("--calibration").arg(case.text());
        command
    }

    #[test]
    fn by_ctrl_c_at_any_moment() {
        let case = job();
        run(&mut command(&case)).succeeds();
        let wanted = lasting(&case.results());
        for mark in ["(1 of 4)", "layer 2 done", "(4 of 4)"] {
            fs::remove_dir_all(case.output()).unwrap();
            let stopped = interrupted(&mut command(&case), mark);
            stopped.fails(130, &["interrupted", "of 4 rows are done", "the same command"]);
            assert!(!stopped.stderr.contains("--resume"), "{}", stopped.stderr);
            let before = case.results();
            run(&mut command(&case)).succeeds();
            let after = case.results();
            assert_eq!(lasting(&after), wanted, "{mark}");
            // Times and all: what was done is not done again.
            for (i, cell) in before["cells"].as_array().unwrap().iter().enumerate() {
                assert!(cell["evals"] == after["cells"][i]["evals"] || cell["evals"] == Value::Array(vec![]));
            }
            assert_eq!(before["dense"], after["dense"]);
            assert_eq!(listing(&case.output()), ["compare.csv", "compare.json", "compare.md"]);
        }
    }

    /// What one command has begun is still there after another has finished rows of its own.
    #[test]
    fn and_gone_on_with_by_the_same_command_later() {
        let case = job();
        let of = |methods: &str| by(&case, &["--methods", methods, "--targets", "2:4"]);
        run(&mut of("fista,wanda")).succeeds();
        let wanted = lasting(&case.results());
        fs::remove_dir_all(case.output()).unwrap();
        interrupted(&mut of("fista,wanda"), "layer 2 done").fails(130, &["0 of 2 rows"]);
        let state = case.output().join(".secateur/fista-2-4/.secateur/state.json");
        assert!(state.is_file());
        run(&mut of("wanda")).succeeds();
        assert!(state.is_file());
        let last = run(&mut of("fista,wanda"));
        assert!(last.stderr.contains("resumed after"), "{}", last.stderr);
        let found = lasting(&case.results());
        for cell in wanted["cells"].as_array().unwrap() {
            assert!(found["cells"].as_array().unwrap().contains(cell), "{}", cell["name"]);
        }
        assert_eq!(listing(&case.output()), ["compare.csv", "compare.json", "compare.md"]);
    }

    /// Before a row's first state too, also where it is to be kept.
    #[test]
    fn before_the_first_layer_of_a_row_that_is_kept() {
        let case = job();
        let kept = case.path("kept");
        let rows = [
            "--methods",
            "wanda",
            "--targets",
            "2:4",
            "--keep",
            kept.to_str().unwrap(),
        ];
        let left = kept.join("wanda-2-4");
        fs::create_dir_all(left.join(".secateur")).unwrap();
        fs::write(left.join(".secateur/lock"), "").unwrap();
        fs::write(left.join("model.safetensors.tmp"), "half").unwrap();
        run(&mut by(&case, &rows)).succeeds();
        assert!(left.join("model.safetensors").is_file() && !left.join(".secateur").exists());
    }

    /// Between shots too it is this command that goes on.
    #[test]
    fn between_shots() {
        let case = job();
        let mut command = by(&case, &["--methods", "surgeon", "--targets", "50%"]);
        let stopped = interrupted(&mut command, "shot 2 of");
        stopped.fails(130, &["interrupted", "0 of 1 rows are done", "the same command"]);
        assert!(!stopped.stderr.contains("--resume"), "{}", stopped.stderr);
        run(&mut command).succeeds();
        assert_eq!(names(&case.results()), ["surgeon-refit20-50"]);
    }

    #[test]
    fn by_a_kill() {
        let case = job();
        run(&mut command(&case)).succeeds();
        let wanted = lasting(&case.results());
        for mark in ["evaluate on", "write and verify", "(3 of 4)"] {
            fs::remove_dir_all(case.output()).unwrap();
            Held::at(&mut command(&case), mark).kill();
            run(&mut command(&case)).succeeds();
            assert_eq!(lasting(&case.results()), wanted, "{mark}");
            assert_eq!(listing(&case.output()), ["compare.csv", "compare.json", "compare.md"]);
        }
    }
}

/// More rows of the same settings join those that are there; other settings do not.
#[test]
fn more_rows_and_other_settings() {
    let case = Case::new();
    case.compare(&TABLE).succeeds();
    let before = case.results();
    let more = [&["--methods", "fista"], &TABLE[2..]].concat();
    case.compare(&more).succeeds();
    let after = case.results();
    assert_eq!(after["cells"].as_array().unwrap().len(), 6);
    assert_eq!(
        after["cells"].as_array().unwrap()[..4],
        before["cells"].as_array().unwrap()[..]
    );
    assert_eq!(after["dense"], before["dense"]);
    let refused = |flags: &[&str], culprits: &[&str]| {
        let flags = [&TABLE[..], flags].concat();
        case.compare(&flags).fails(1, culprits);
        assert_eq!(case.results(), after);
    };
    refused(
        &["--damping", "0.02"],
        &[
            "compare.json",
            "magnitude-50",
            "other settings",
            "damping.fraction was 0.01 and is 0.02",
            "--output",
        ],
    );
    refused(&["--propagate", "local"], &["propagate"]);
    // Rows of other names cannot stand beside these either, unless they are on the same tokens and layers.
    for (flags, culprit) in [
        ("--samples 6 --length 32", "samples was 8 and is 6"),
        ("--samples 8 --length 16", "length was 32 and is 16"),
        (
            "--samples 8 --length 32 --limit-layers 1",
            "limit_layers was null and is 1",
        ),
        ("--samples 8 --length 32 --layers 1", "only_layers was null and is [1]"),
    ] {
        let mut command = case.compare_command(&["--methods", "sparsegpt"]);
        command.args(&TABLE[2..]).arg("--calibration").arg(case.text());
        run(command.args(flags.split(' '))).fails(1, &["compare.json", "other settings", culprit]);
        assert_eq!(case.results(), after);
    }
    let windows = [&TABLE[..8], &["--windows", "5"]].concat();
    case.compare(&windows)
        .fails(1, &["compare.json", "other settings", "windows"]);
    fs::write(case.text(), text(2001)).unwrap();
    refused(&[], &["other settings", "calibration was"]);
    fs::write(case.text(), text(2000).replace("w1 ", "w2 ")).unwrap();
    refused(&[], &["other settings", "tokens"]);
    fs::write(case.text(), text(2000)).unwrap();
    fs::write(case.output().join("compare.json"), "{").unwrap();
    case.compare(&TABLE).fails(1, &["compare.json", "damaged", "delete it"]);
}

#[test]
fn comparisons_that_make_no_sense() {
    let case = Case::new();
    let refused = |code: i32, flags: &[&str], culprits: &[&str]| {
        case.compare(flags).fails(code, culprits);
        assert!(!case.output().exists());
    };
    refused(2, &["--methods", "wanda,obliterate"], &["obliterate", "wanda"]);
    refused(2, &["--damping", "0"], &["--damping"]);
    refused(2, &["--context", "129"], &["--context 129"]);
    refused(2, &["--targets", "3:5"], &["q_proj", "3:5"]);
    for (flag, value) in [
        ("--targets", "half"),
        ("--targets", "150%"),
        ("--pattern", "5:4"),
        ("--methods", "wanda+x"),
    ] {
        case.compare(&[flag, value]).refused_by_the_parser(&[value]);
    }
    run(&mut case.compare_command(&[])).fails(2, &["--calibration is missing"]);
    case.compare(&["--eval", "nowhere.txt"]).fails(1, &["nowhere.txt"]);
    assert!(!case.output().exists());
    fs::create_dir(case.output()).unwrap();
    fs::write(case.output().join("thesis.tex"), "all of it").unwrap();
    case.compare(&TABLE).fails(1, &["output", "not empty", "thesis.tex"]);
    assert_eq!(listing(&case.output()), ["thesis.tex"]);
}
