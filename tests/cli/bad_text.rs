//! Texts that are missing, empty, too short or of the wrong form.

use std::fs;
use std::path::Path;

use super::fixture::{Model, VOCABULARY, text};
use super::{Case, Run, listing, run, secateur};

/// `secateur prune` with another calibration file of this name and content.
fn calibrated(case: &Case, name: &str, content: &str, samples: &str) -> Run {
    let path = case.path(name);
    fs::write(&path, content).unwrap();
    calibrated_with(case, &path, samples)
}

fn calibrated_with(case: &Case, path: &Path, samples: &str) -> Run {
    let mut command = secateur();
    command
        .arg("prune")
        .arg(case.model())
        .arg("--output")
        .arg(case.output())
        .arg("--calibration")
        .arg(path);
    command.args([
        "--pattern",
        "2:4",
        "--length",
        "32",
        "--samples",
        samples,
        "--adapter",
        "cpu",
    ]);
    let run = run(&mut command);
    assert!(!case.output().exists(), "{:?} was left behind", listing(&case.output()));
    run
}

#[test]
fn no_file() {
    let case = Case::new();
    fs::remove_file(case.text()).unwrap();
    case.refused(1, &["text.txt", "no such file"]);
    case.eval(&[]).fails(1, &["text.txt", "no such file"]);
    calibrated_with(&case, &case.model(), "1").fails(1, &["model", "cannot read"]);
}

#[test]
fn no_text() {
    let case = Case::new();
    for (name, content) in [
        ("empty.txt", ""),
        ("empty.jsonl", ""),
        ("empty-lines.jsonl", "\n\n{\"text\": \"\"}\n"),
    ] {
        calibrated(&case, name, content, "1").fails(1, &[name, "no text"]);
    }
    fs::write(case.text(), "").unwrap();
    case.eval(&[]).fails(1, &["text.txt", "no text"]);
}

#[test]
fn less_text_than_asked_for() {
    let case = Case::new();
    let culprits = ["short.txt", "100 tokens", "3 samples of 32", "4 were asked for"];
    calibrated(&case, "short.txt", &text(100), "4").fails(1, &culprits);
    let document = format!("{{\"text\": \"{}\"}}\n", text(20).replace('\n', " "));
    let culprits = [
        "short.jsonl",
        "longest of its 3 documents has 20 tokens",
        "samples of 32",
    ];
    calibrated(&case, "short.jsonl", &document.repeat(3), "1").fails(1, &culprits);
}

#[test]
fn more_samples_than_fit_in_memory() {
    let case = Case::new();
    let huge = usize::MAX.to_string();
    calibrated(&case, "some.txt", &text(100), &huge).fails(1, &["some.txt", &huge]);
    let document = format!("{{\"text\": \"{}\"}}\n", text(20).replace('\n', " "));
    calibrated(&case, "some.jsonl", &document, &huge).fails(1, &["some.jsonl"]);
}

#[test]
fn lines_without_a_text() {
    let case = Case::new();
    let good = format!("{{\"text\": \"{}\"}}\n", text(50).replace('\n', " "));
    for (bad, reason) in [
        ("{\"content\": \"w1\"}", "\"text\""),
        ("{\"text\": 7}", "\"text\""),
        ("{\"text\": \"w1\"", "not a JSON object"),
        ("w1 w2 w3", "not a JSON object"),
        ("[\"w1\"]", "not a JSON object"),
    ] {
        let content = format!("{good}{bad}\n{good}");
        calibrated(&case, "lines.jsonl", &content, "1").fails(1, &["lines.jsonl", "line 2", reason]);
    }
}

#[test]
fn bytes_that_are_no_text() {
    let case = Case::new();
    for (name, bytes, reason) in [
        ("latin1.txt", &b"w1 w2 caf\xe9"[..], "byte 9"),
        ("latin1.jsonl", b"\n{\"text\": \"caf\xe9\"}", "line 2"),
        ("not.txt.gz", b"w1 w2 w3", "gzip"),
    ] {
        fs::write(case.path(name), bytes).unwrap();
        calibrated_with(&case, &case.path(name), "1").fails(1, &[name, reason]);
    }
}

#[test]
fn tokens_beyond_the_vocabulary() {
    let mut model = Model::small();
    let rows = VOCABULARY / 2;
    model.config["vocab_size"] = rows.into();
    for name in ["model.embed_tokens.weight", "lm_head.weight"] {
        let tensor = model.tensor(name);
        let half = tensor.bytes.len() / 2;
        tensor.bytes.truncate(half);
        tensor.shape[0] = rows;
    }
    let case = Case::of(&model);
    case.refused(1, &["token id", "vocabulary of 32", "tokenizer.json"]);
    case.eval(&["--context", "32"])
        .fails(1, &["token id", "vocabulary of 32", "tokenizer.json"]);
}

#[test]
fn less_text_than_one_window() {
    let case = Case::new();
    fs::write(case.text(), text(31)).unwrap();
    case.eval(&["--context", "32"])
        .fails(1, &["text.txt", "31 tokens", "one window of 32"]);
}
