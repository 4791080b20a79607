//! What `secateur prune` writes: exactly the zeros asked for, counted in the bytes, and nothing else changed.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::fixture::{Model, Stored, linear, text};
use super::{Case, listing, run, secateur, weights};

/// Non-zeros of the input and of the output, by groups of `size` consecutive weights.
fn kept(before: &Stored, after: &Stored, size: usize) -> Vec<[usize; 2]> {
    let count = |values: &[f32]| values.iter().filter(|v| **v != 0.0).count();
    let (old, new) = (before.values(), after.values());
    old.chunks(size)
        .zip(new.chunks(size))
        .map(|(old, new)| [count(old), count(new)])
        .collect()
}

/// Everything that holds whatever was asked for; returns the linears as pairs before and after.
fn unchanged_but_linears(model: &Path, output: &Path) -> Vec<(Stored, Stored)> {
    let (before, after) = (weights(model), weights(output));
    assert_eq!(before.len(), after.len());
    let (linears, others): (Vec<_>, Vec<_>) = before.into_iter().zip(after).partition(|(old, _)| old.is_linear());
    for (old, new) in &others {
        assert_eq!(old, new);
    }
    for (old, new) in &linears {
        assert_eq!((&old.name, old.dtype, &old.shape), (&new.name, new.dtype, &new.shape));
        for (old, new) in old.values().into_iter().zip(new.values()) {
            assert!(new.is_finite() && (old != 0.0 || new == 0.0), "{old} became {new}");
        }
    }
    let mut files = listing(model);
    files.push("pruning_report.json".to_string());
    files.sort();
    assert_eq!(listing(output), files);
    for name in files
        .iter()
        .filter(|n| n.ends_with(".json") && *n != "pruning_report.json")
    {
        assert!(
            fs::read(model.join(name)).unwrap() == fs::read(output.join(name)).unwrap(),
            "{name} differs"
        );
    }
    linears
}

/// Layout and metadata of a safetensors file.
fn header(file: &Path) -> Value {
    let bytes = fs::read(file).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    serde_json::from_slice(&bytes[8..8 + length]).unwrap()
}

/// The report says what the files hold.
fn report_agrees(output: &Path, printed: &Value, linears: &[(Stored, Stored)]) {
    let report: Value = serde_json::from_slice(&fs::read(output.join("pruning_report.json")).unwrap()).unwrap();
    for part in [
        "settings",
        "calibration",
        "totals",
        "linears",
        "input_fingerprint",
        "adapter",
    ] {
        let mut printed = printed[part].clone();
        for linear in printed.as_array_mut().into_iter().flatten() {
            // The file holds no times: two runs write the same bytes.
            assert!(linear.as_object_mut().unwrap().remove("seconds").unwrap().is_number());
        }
        assert_eq!(report[part], printed, "printed and written {part}");
    }
    assert_eq!(report["adapter"]["executor"], "host");
    let (mut zeros, mut elements, mut input_zeros) = (0, 0, 0);
    for (old, new) in linears {
        let [before, after] = kept(old, new, usize::MAX)[0];
        let size = old.values().len();
        let listed = report["linears"]
            .as_array()
            .unwrap()
            .iter()
            .find(|l| l["tensor"] == *old.name)
            .unwrap();
        assert_eq!(listed["zeros"], size - after);
        assert_eq!(listed["input_zeros"], size - before);
        assert_eq!(listed["shape"], serde_json::json!(old.shape));
        let errors = ["error_before", "error_after"].map(|key| listed[key].as_f64());
        // Not measured where the method knows norms alone.
        let method = report["settings"]["method"].as_str().unwrap();
        let known = !["wanda", "ria", "magnitude"].contains(&method) || report["settings"]["refit"] != 0;
        match errors {
            [Some(start), Some(end)] => assert!(known && (0.0..1.0).contains(&end) && start >= 0.0, "{listed}"),
            [start, end] => assert!(!known && start.is_none() && end.is_none(), "{listed}"),
        }
        (zeros, elements, input_zeros) = (zeros + size - after, elements + size, input_zeros + size - before);
    }
    let totals = &report["totals"];
    assert_eq!(
        (&totals["zeros"], &totals["weights"]),
        (&zeros.into(), &elements.into())
    );
    assert_eq!(totals["input_zeros"], input_zeros);
    assert_eq!(totals["sparsity"].as_f64(), Some(zeros as f64 / elements as f64));
    assert_eq!(report["linears"].as_array().unwrap().len(), linears.len());
}

/// Prunes, checks all of the above, and returns the linears before and after.
fn pruned(model: &Model, flags: &[&str]) -> Vec<(Stored, Stored)> {
    let case = Case::of(model);
    let printed = case.prune(&[flags, &["--json"]].concat()).json();
    let linears = unchanged_but_linears(&case.model(), &case.output());
    let name = "model.safetensors";
    assert_eq!(header(&case.model().join(name)), header(&case.output().join(name)));
    report_agrees(&case.output(), &printed, &linears);
    linears
}

#[test]
fn two_of_four_and_four_of_eight() {
    for (pattern, n, m) in [("2:4", 2, 4), ("4:8", 4, 8), ("1:16", 1, 16)] {
        for (old, new) in pruned(&Model::small(), &["--pattern", pattern]) {
            for [_, after] in kept(&old, &new, m) {
                assert_eq!(after, n, "{} at {pattern}", old.name);
            }
        }
    }
}

#[test]
fn a_share_of_the_matrix_and_of_each_row() {
    for sparsity in [0.5, 0.7] {
        let flag = sparsity.to_string();
        for (old, new) in pruned(&Model::small(), &["--sparsity", &flag, "--allocation", "uniform"]) {
            let [before, after] = kept(&old, &new, usize::MAX)[0];
            assert_eq!(
                before - after,
                (sparsity * before as f64).round() as usize,
                "{}",
                old.name
            );
        }
        for (old, new) in pruned(
            &Model::small(),
            &["--sparsity", &flag, "--scope", "row", "--allocation", "uniform"],
        ) {
            for [before, after] in kept(&old, &new, old.shape[1]) {
                assert_eq!(
                    before - after,
                    (sparsity * before as f64).round() as usize,
                    "{}",
                    old.name
                );
            }
        }
    }
}

#[test]
fn every_method_and_setting() {
    for flags in [
        &["--method", "magnitude"][..],
        &["--method", "wanda", "--refit", "0"],
        &["--method", "fista", "--refit", "0", "--propagate", "local"],
        &["--method", "fista", "--warm-start", "sparsegpt"],
        &["--method", "sparsegpt"],
        &["--method", "sparsegpt", "--propagate", "local", "--refit", "3"],
        &["--method", "ria"],
        &["--method", "alps", "--damping-rule", "own"],
        &["--correction", "0.5", "--propagate", "dense"],
        &["--propagate", "pruned", "--damping", "0.1", "--seed", "5"],
    ] {
        for (old, new) in pruned(&Model::small(), &[&["--pattern", "2:4"], flags].concat()) {
            assert!(
                kept(&old, &new, 4).iter().all(|[_, after]| *after == 2),
                "{} with {flags:?}",
                old.name
            );
        }
    }
}

#[test]
fn only_some_layers() {
    for propagate in ["dense", "local", "both"] {
        let case = Case::new();
        case.prune(&["--pattern", "2:4", "--layers", "1", "--propagate", propagate])
            .succeeds();
        for (old, new) in unchanged_but_linears(&case.model(), &case.output()) {
            assert_eq!(old.bytes != new.bytes, old.name.contains("layers.1."), "{}", old.name);
        }
    }
    let flops = |layers: &[&str]| {
        let flags = [&["--pattern", "2:4", "--dry-run", "--json"], layers].concat();
        Case::new().prune(&flags).json()["flops"].as_f64().unwrap()
    };
    let [one, all] = [flops(&["--layers", "1"]), flops(&[])];
    assert!(
        one > 0.5 * all && one < 0.7 * all,
        "a forward pass of the other: {one} {all}"
    );
    let case = Case::new();
    case.prune(&["--pattern", "2:4", "--layers", "0,7"])
        .fails(2, &["--layers 7", "0 to 1"]);
}

/// A matrix of zeros, a row, a column, most of a group, and a sprinkling of zeros of either sign: all stay, and the
/// pattern counts them as its own.
#[test]
fn zeros_of_the_input_stay() {
    let mut model = Model::small();
    model.tensor(&linear(0, "self_attn.k_proj")).set(&[0.0; 16 * 32]);
    let mut plant = |name: &str, zero: &dyn Fn(usize) -> bool| {
        let tensor = model.tensor(&linear(1, name));
        let zeroed = |(i, v)| if zero(i) { f32::copysign(0.0, v) } else { v };
        let values: Vec<f32> = tensor.values().into_iter().enumerate().map(zeroed).collect();
        tensor.set(&values);
    };
    plant("mlp.up_proj", &|i| i / 32 == 5 || i % 32 == 9);
    plant("mlp.down_proj", &|i| i % 4 < 3 && i < 400);
    plant("mlp.gate_proj", &|i| i % 7 == 3);

    for (old, new) in pruned(&model, &["--pattern", "2:4", "--permute", "off"]) {
        for [before, after] in kept(&old, &new, 4) {
            assert_eq!(after, before.min(2), "{}", old.name);
        }
    }
    for (old, new) in pruned(&model, &["--sparsity", "0.5"]) {
        let [before, after] = kept(&old, &new, usize::MAX)[0];
        assert!(after <= before && (before == 0 || after > 0), "{}", old.name);
    }
    for (old, new) in pruned(&model, &["--sparsity", "0.5", "--allocation", "uniform"]) {
        let [before, after] = kept(&old, &new, usize::MAX)[0];
        assert_eq!(after, before.min(old.values().len() / 2), "{}", old.name);
    }
    for (old, new) in pruned(&model, &["--sparsity", "0.25", "--scope", "row"]) {
        for [before, after] in kept(&old, &new, old.shape[1]) {
            assert_eq!(after, before.min(old.shape[1] * 3 / 4), "{}", old.name);
        }
    }
}

/// Inputs that are never active leave the method nothing to go by, and must not stop it.
#[test]
fn inputs_that_are_never_active() {
    let mut model = Model::small();
    let norm = model.tensor("model.layers.0.input_layernorm.weight");
    let values: Vec<f32> = norm
        .values()
        .into_iter()
        .enumerate()
        .map(|(i, v)| if i < 3 { 0.0 } else { v })
        .collect();
    norm.set(&values);
    for (old, new) in pruned(&model, &["--pattern", "2:4"]) {
        assert!(kept(&old, &new, 4).iter().all(|[_, after]| *after == 2), "{}", old.name);
    }
}

/// The number of threads does not matter, and another seed gives other weights. The report differs in its times.
#[test]
fn the_same_seed_gives_the_same_bytes() {
    let case = Case::new();
    fs::write(case.text(), text(20_000)).unwrap();
    let outcome = |name: &str, threads: &str, seed: &str| {
        let output = case.path(name);
        let mut command = secateur();
        command
            .arg("prune")
            .arg(case.model())
            .arg("-o")
            .arg(&output)
            .arg("-c")
            .arg(case.text());
        command
            .args("--pattern 2:4 --samples 16 --length 128 --adapter cpu --seed".split(' '))
            .arg(seed);
        run(command.env("RAYON_NUM_THREADS", threads)).succeeds();
        let report: Value = serde_json::from_slice(&fs::read(output.join("pruning_report.json")).unwrap()).unwrap();
        let weights = fs::read(output.join("model.safetensors")).unwrap();
        (weights, report["calibration"]["token_hash"].clone())
    };
    let first = outcome("a", "1", "3");
    assert!(first == outcome("b", "1", "3"), "two runs differ");
    assert!(first == outcome("c", "3", "3"), "threads make a difference");
    let other = outcome("d", "1", "4");
    assert!(first.0 != other.0 && first.1 != other.1, "the seed has no effect");
}

/// Layers beyond the limit are copied.
#[test]
fn only_the_first_layers() {
    let case = Case::new();
    let report = case
        .prune(&["--pattern", "2:4", "--limit-layers", "1", "--json"])
        .json();
    assert_eq!(report["linears"].as_array().map(Vec::len), Some(7));
    for (old, new) in unchanged_but_linears(&case.model(), &case.output()) {
        if old.name.contains("layers.1.") {
            assert_eq!(old, new);
        } else {
            assert!(kept(&old, &new, 4).iter().all(|[_, after]| *after == 2), "{}", old.name);
        }
    }
}
