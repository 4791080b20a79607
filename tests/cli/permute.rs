//! Inputs put in an order that suits an N:M pattern: the checkpoint that is written is an ordinary one, and computes what
//! the pruned layer computed while the walk went on.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::fixture::{Model, Stored};
use super::{Case, weights};

/// Tiny models of every family, as the golden tests have them.
fn fixtures() -> Vec<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/data");
    let mut folders: Vec<PathBuf> = fs::read_dir(data).unwrap().map(|e| e.unwrap().path()).collect();
    folders.sort();
    folders
}

fn json(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// A case with the weights of a fixture, and a tokenizer that knows no more words than it.
fn case_of(fixture: &Path) -> Case {
    let case = Case::new();
    fs::remove_file(case.model().join("model.safetensors")).unwrap();
    for entry in fs::read_dir(fixture).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if name != "expected.safetensors" && name != "gradients.safetensors" {
            fs::copy(&path, case.model().join(name)).unwrap();
        }
    }
    let config = json(&fixture.join("config.json"));
    let vocabulary = config["vocab_size"].as_u64().unwrap();
    let path = case.model().join("tokenizer.json");
    let mut tokenizer = json(&path);
    let words = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    words.retain(|_, id| id.as_u64().unwrap() < vocabulary);
    fs::write(&path, tokenizer.to_string()).unwrap();
    case
}

/// Whether a tensor belongs to the first decoder layer.
fn first(tensor: &Stored) -> bool {
    tensor.name.contains("layers.0.") || tensor.name.starts_with("h.0.") || tensor.name.contains(".h.0.")
}

/// Magnitude, each layer on what the pruned ones before give it.
fn prune(case: &Case, permute: &str) -> Value {
    let flags = "--pattern 2:4 --method magnitude --refit 0 --propagate pruned --layer-errors --json --permute";
    let flags: Vec<&str> = flags.split(' ').chain([permute]).collect();
    case.prune(&flags).json()
}

fn linears<'r>(report: &'r Value, keep: impl Fn(&Value) -> bool + 'r) -> impl Iterator<Item = &'r Value> {
    report["linears"].as_array().unwrap().iter().filter(move |l| keep(l))
}

/// Every group of four inputs has at most two weights, also where the file holds the inputs in rows.
fn assert_two_of_four(record: &Value, stored: &Stored, turned: bool) {
    let [outputs, inputs] = [0, 1].map(|i| record["shape"][i].as_u64().unwrap() as usize);
    let values = stored.values();
    let at = |row: usize, col: usize| {
        if turned {
            values[col * outputs + row]
        } else {
            values[row * inputs + col]
        }
    };
    for row in 0..outputs {
        for group in 0..inputs / 4 {
            let kept = (4 * group..4 * group + 4).filter(|col| at(row, *col) != 0.0).count();
            assert!(kept <= 2, "{}: row {row}, group {group}", stored.name);
        }
    }
}

/// The second layer sees the same whether the first was pruned and permuted just now or is read as it was written then.
#[test]
fn what_is_written_computes_what_was_run() {
    let mut tried = 0;
    for fixture in fixtures() {
        let name = fixture.file_name().unwrap().to_string_lossy().into_owned();
        let case = case_of(&fixture);
        // Five heads of six inputs hold no whole groups of four.
        if name == "odd_sizes_f16" {
            continue;
        }
        let report = prune(&case, "on");
        let moved = |l: &Value| l["permuted"] == true;
        assert!(linears(&report, moved).any(|l| l["role"] == "down"), "{name}: {report}");
        for linear in linears(&report, moved) {
            let [before, after] = [0, 1].map(|i| linear["permutation_kept"][i].as_f64().unwrap());
            assert!(
                0.0 < before && before < after && after <= 1.0 + 1e-6,
                "{name}: {linear}"
            );
        }
        let (before, after) = (weights(&case.model()), weights(&case.output()));
        for linear in linears(&report, |_| true) {
            let stored = after.iter().find(|t| linear["tensor"] == *t.name).unwrap();
            assert_two_of_four(linear, stored, report["settings"]["family"] == "gpt2");
        }
        if linears(&report, |l| l["layer"] == 1).next().is_none() {
            continue;
        }
        // The first layer as written, the others as they were.
        let tensors = before
            .iter()
            .zip(&after)
            .map(|(old, new)| if first(new) { new } else { old });
        let mut both = Model::small();
        (both.tensors, both.config) = (tensors.cloned().collect(), json(&fixture.join("config.json")));
        let again = case_of(&fixture);
        for file in super::listing(&again.model())
            .iter()
            .filter(|n| n.contains("safetensors"))
        {
            fs::remove_file(again.model().join(file)).unwrap();
        }
        let tokenizer = fs::read(again.model().join("tokenizer.json")).unwrap();
        both.write(&again.model());
        fs::write(again.model().join("tokenizer.json"), tokenizer).unwrap();
        let reread = prune(&again, "off");
        let written = weights(&again.output());
        for tensor in written.iter().filter(|t| first(t)) {
            // Scaled and scaled back, f32 weights are off by rounding.
            let close = |(a, b): (f32, f32)| (a - b).abs() <= 1e-6 * a.abs();
            let was = after.iter().find(|t| t.name == tensor.name).unwrap();
            let same = was == tensor || was.values().into_iter().zip(tensor.values()).all(close);
            assert!(same, "{name}: {} is not as it was", tensor.name);
        }
        let attention = |l: &Value| {
            let role = l["role"].as_str().unwrap();
            l["layer"] == 1 && ["q", "k", "v", "qkv"].contains(&role)
        };
        for (run, read) in linears(&report, attention).zip(linears(&reread, attention)) {
            let [run, read] = [run, read].map(|l| l["error_after"].as_f64().unwrap());
            assert!(
                (run / read - 1.0).abs() < 1e-4,
                "{name}: {run} was run, {read} was read"
            );
        }
        assert_eq!(linears(&reread, moved).count(), 0);
        tried += 1;
    }
    assert!(tried >= 26, "{tried} fixtures have two layers");
}

/// With ADMM by default, otherwise when asked; never without groups, and never in silence.
#[test]
fn where_it_is_done() {
    let permuted = |flags: &[&str]| {
        let report = Case::new().prune(&[flags, &["--json"]].concat()).json();
        let moved: Vec<String> = linears(&report, |l| l["permuted"] == true && l["layer"] == 0)
            .map(|l| l["role"].as_str().unwrap().to_string())
            .collect();
        assert_eq!(report["settings"]["permute"] == true, !moved.is_empty(), "{flags:?}");
        (moved.join(" "), report["warnings"].to_string())
    };
    let both = "o down";
    assert_eq!(permuted(&["--pattern", "2:4"]).0, both);
    assert_eq!(permuted(&["--pattern", "2:4", "--permute", "off"]).0, "");
    assert_eq!(permuted(&["--pattern", "2:4", "--method", "wanda"]).0, "");
    assert_eq!(
        permuted(&["--pattern", "2:4", "--method", "wanda", "--permute", "on"]).0,
        both
    );
    // Heads of 8.
    let (moved, warnings) = permuted(&["--pattern", "2:16"]);
    assert!(
        moved == "down" && warnings.contains("the inputs of o were not permuted"),
        "{moved} {warnings}"
    );
    let (moved, warnings) = permuted(&["--sparsity", "0.5", "--permute", "on"]);
    assert!(
        moved.is_empty() && warnings.contains("nothing was permuted"),
        "{moved} {warnings}"
    );
    assert_eq!(permuted(&["--sparsity", "0.5"]), (String::new(), "null".into()));
}

/// Blocks of outputs are solved one by one and share one order.
#[test]
fn in_blocks_of_outputs() {
    let case = Case::new();
    let short = ["--samples", "16", "--length", "16", "--adapter", "cpu"];
    let flags = ["--pattern", "2:4", "--max-binding", "4096", "--json"];
    let report = case.prune_to(&case.output(), &short, &flags).json();
    let after = weights(&case.output());
    let mut blocks = 0;
    for linear in linears(&report, |l| l["permuted"] == true) {
        blocks = blocks.max(linear["row_blocks"].as_u64().unwrap());
        assert_two_of_four(
            linear,
            after.iter().find(|t| linear["tensor"] == *t.name).unwrap(),
            false,
        );
    }
    assert!(blocks > 1, "{report}");
}
