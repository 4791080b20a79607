//! `scripts/gpu-suite`, which users of other GPUs run.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::schema;
use crate::common::{PROGRAM, plain};

fn suite(binary: &str, folder: &Path, arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/gpu-suite");
    let mut command = Command::new("sh");
    command.arg(script).args(arguments).env("SECATEUR", binary);
    plain(&mut command);
    command.current_dir(folder).output().unwrap()
}

/// A program in place of ours. A shell writes it: the system runs no file that is open for writing, as it would still be
/// in whatever another test starts meanwhile.
fn fake(folder: &Path, script: &str) -> String {
    let file = folder.join("fake").display().to_string();
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "printf '#!/bin/sh\n%s\n' \"$2\" >\"$1\" && chmod 755 \"$1\"",
        "sh",
    ]);
    assert!(command.args([&file, script]).status().unwrap().success());
    file
}

#[test]
fn one_folder_with_everything() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["-s", "tiny", "-a", "cpu", "-o", "result"];
    let output = suite(PROGRAM, folder.path(), &arguments);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let result = folder.path().join("result");
    let read = |name: &str| std::fs::read_to_string(result.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let json = |name: &str| serde_json::from_str::<Value>(&read(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let summary = read("summary.tsv");
    let steps: Vec<Vec<&str>> = summary.lines().skip(1).map(|line| line.split('\t').collect()).collect();
    let names: Vec<&str> = steps.iter().map(|step| step[0]).collect();
    assert_eq!(
        names,
        [
            "doctor",
            "check",
            "bench",
            "board",
            "demo",
            "prune",
            "eval",
            "eval-dense"
        ]
    );
    assert!(
        steps
            .iter()
            .all(|step| step[1] == "0" && step[2].parse::<i64>().is_ok()),
        "{summary}"
    );
    assert!(json("doctor.json")["cores"].is_u64());
    assert!(
        json("check.json")
            .as_array()
            .unwrap()
            .iter()
            .all(|row| row["passed"] == true)
    );
    let rows = Value::Array(
        read("bench.jsonl")
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    );
    assert_eq!(
        schema::violations(&schema::schema(), &rows, "rows"),
        Vec::<String>::new()
    );
    assert!(read("board.html").contains("bench.jsonl"));
    assert!(json("demo.json").as_array().unwrap().len() > 4);
    assert_eq!(
        json("prune.json")["totals"]["weights"].as_u64().map(|w| w > 0),
        Some(true)
    );
    let [pruned, dense] = ["eval.json", "eval-dense.json"].map(|name| json(name)["perplexity"].as_f64().unwrap());
    assert!(pruned > dense, "{pruned} {dense}");
    assert!(!result.join("work").exists());

    // A second run never writes over a first.
    let again = suite(PROGRAM, folder.path(), &arguments);
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("result exists"));
}

/// A step that fails is named, the others run, and the script fails.
#[test]
fn a_failed_step_fails_the_suite() {
    let folder = tempfile::tempdir().unwrap();
    let fake = fake(
        folder.path(),
        "[ \"$1\" != demo ] || { echo 'error: no demo' >&2; exit 7; }",
    );
    let output = suite(&fake, folder.path(), &["-s", "tiny", "-o", "result"]);
    assert_eq!(output.status.code(), Some(1));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        stdout.contains("error: no demo") && stdout.contains("some steps failed"),
        "{stdout}"
    );
    let summary = std::fs::read_to_string(folder.path().join("result/summary.tsv")).unwrap();
    let codes: Vec<&str> = summary
        .lines()
        .skip(1)
        .map(|line| line.split('\t').nth(1).unwrap())
        .collect();
    assert_eq!(codes, ["0", "0", "0", "0", "7", "0", "0", "0"]);
}

/// A checkpoint and texts of one's own, and what else cannot be.
#[test]
fn the_suite_reads_its_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let fake = fake(folder.path(), "");
    let run = |arguments: &[&str]| suite(&fake, folder.path(), arguments);
    let output = run(&[
        "-a", "My GPU", "-s", "medium", "-o", "result", "a model", "c.txt", "e.txt",
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary = std::fs::read_to_string(folder.path().join("result/summary.tsv")).unwrap();
    for words in [
        "secateur bench --size medium --output jsonl --adapter My GPU",
        "secateur prune a model --output result/work/pruned --calibration c.txt --pattern 2:4 --samples 16 --length 1024",
        "secateur eval result/work/pruned --text e.txt --against a model --context 1024 --windows 8",
    ] {
        assert!(summary.contains(words), "{words} in {summary}");
    }
    for (arguments, message) in [
        (&["only a model"][..], "scripts/gpu-suite [-a ADAPTER]"),
        (&["-s", "huge"], "there is no size huge"),
        (&["-x"], "scripts/gpu-suite [-a ADAPTER]"),
        (&["-o", "result"], "result exists"),
    ] {
        let output = run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(message) && !stderr.contains("set -u"), "{stderr}");
    }
    let output = suite("/no/such/binary", folder.path(), &["-s", "tiny"]);
    assert_eq!(output.status.code(), Some(2));
}
