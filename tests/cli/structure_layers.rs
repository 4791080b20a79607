//! `prune --structure layers` as a user runs it: whole layers gone, the others renumbered, and the same logits as of the
//! source with those layers doing nothing.

use std::fs;

use serde_json::{Value, json};

use super::fixture::{Model, linear};
use super::structure::{LAYER, assert_same_logits, config, elements, golden, logits, pruned, tensors};
use super::{Case, listing, weights};

/// What writes to the residual stream, in any family.
const WRITERS: [&str; 8] = [
    "o_proj",
    "down_proj",
    "c_proj",
    "fc2",
    "out_proj",
    "dense_4h_to_h",
    "attention.dense",
    "wo",
];

/// Whether a tensor is of a layer.
fn of_layer(name: &str, layer: usize) -> bool {
    [format!("layers.{layer}."), format!("h.{layer}.")]
        .iter()
        .any(|part| name.contains(part.as_str()))
}

fn writes(name: &str) -> bool {
    WRITERS.iter().any(|writer| name.contains(writer))
}

/// What some layers write, times a factor.
fn scaled(model: &mut Model, layers: &[usize], factor: f32) {
    for tensor in &mut model.tensors {
        if writes(&tensor.name) && layers.iter().any(|layer| of_layer(&tensor.name, *layer)) {
            let values: Vec<f32> = tensor.values().iter().map(|v| v * factor).collect();
            tensor.set(&values);
        }
    }
}

fn source(case: &Case) -> Model {
    Model {
        config: config(&case.model()),
        tensors: weights(&case.model()),
        shards: 1,
    }
}

/// The result against the source with these layers doing nothing.
fn assert_skips(case: &Case, gone: &[usize]) {
    let mut model = source(case);
    scaled(&mut model, gone, 0.0);
    let idle = case.path("idle");
    model.write(&idle);
    fs::copy(case.model().join("tokenizer.json"), idle.join("tokenizer.json")).unwrap();
    assert_same_logits(&logits(case, &idle), &logits(case, &case.output()));
    fs::remove_dir_all(idle).unwrap();
}

fn removed(report: &Value) -> Vec<u64> {
    let shots = report["shots"].as_array().unwrap().iter();
    let layers = shots.filter_map(|shot| shot["layers"].as_array());
    let mut all: Vec<u64> = layers.flatten().map(|l| l.as_u64().unwrap()).collect();
    all.sort_unstable();
    all
}

#[test]
fn the_cheapest_layers_go_and_the_others_move_up() {
    for flags in [
        "--shots 1",
        "--shots 2",
        "--score block-influence",
        "--score block-influence --shots 3",
    ] {
        let mut model = Model::of_layers(6);
        model.shards = 3;
        scaled(&mut model, &[2, 4], 1e-3);
        let case = Case::of(&model);
        let flags = format!("--structure layers --sparsity 0.3 {flags}");
        let words: Vec<&str> = flags.split(' ').collect();
        let plan = case
            .prune(&[&["--method", "surgeon", "--json", "--dry-run"], &words[..]].concat())
            .json();
        let report = pruned(&case, &flags);
        assert_eq!(removed(&report), [2, 4], "{flags}");
        let (old, new) = (tensors(&case.model()), tensors(&case.output()));
        assert_eq!(new.len(), 3 + 4 * 9);
        for (now, layer) in [0, 1, 3, 5].into_iter().enumerate() {
            for name in old.keys().filter(|name| of_layer(name, layer)) {
                let moved = name.replace(&format!("layers.{layer}."), &format!("layers.{now}."));
                let (old, new) = (&old[name], &new[&moved]);
                assert_eq!(
                    (&old.bytes, &old.shape, old.dtype),
                    (&new.bytes, &new.shape, new.dtype),
                    "{moved}"
                );
            }
        }
        let mut wanted = config(&case.model());
        wanted["num_hidden_layers"] = json!(4);
        assert_eq!(config(&case.output()), wanted);
        let after = &report["shrunk"]["after"];
        assert_eq!([&after["layers"], &report["shrunk"]["before"]["layers"]], [4, 6]);
        assert_eq!(after["parameters"], elements(&case.output()));
        assert_eq!(plan["promises"][0]["parameters"], elements(&case.output()));
        assert_eq!(plan["promises"][0]["layers"], 4);
        assert_eq!(
            report["shots"].as_array().unwrap().last().unwrap()["removed"],
            2 * LAYER
        );
        let index = fs::read(case.output().join("model.safetensors.index.json")).unwrap();
        let index: Value = serde_json::from_slice(&index).unwrap();
        let mut names: Vec<&String> = index["weight_map"].as_object().unwrap().keys().collect();
        names.sort();
        assert_eq!(names, new.keys().collect::<Vec<_>>());
        assert!(!case.output().join(".secateur").exists());
        assert_eq!(listing(&case.output()).len(), listing(&case.model()).len() + 1);
        assert_skips(&case, &[2, 4]);
    }
}

/// One layer, or as many weights of neurons and heads, whichever costs less; both if more is to go.
#[test]
fn layers_beside_units() {
    for (cheap, structure, sparsity, layers, ffn) in [
        (Some(1), "ffn,layers", 0.25, 3, 48),
        (None, "ffn,layers", 0.25, 4, 28),
        (Some(1), "ffn,heads,layers", 0.4, 3, 0),
    ] {
        let mut model = Model::of_layers(4);
        match cheap {
            Some(layer) => scaled(&mut model, &[layer], 1e-4),
            None => {
                for layer in 0..4 {
                    let down = model.tensor(&linear(layer, "mlp.down_proj"));
                    let values = down.values();
                    let values: Vec<f32> = (values.iter().enumerate())
                        .map(|(i, v)| if i % 48 < 30 { v * 1e-4 } else { *v })
                        .collect();
                    down.set(&values);
                }
            }
        }
        for shots in [1, 3] {
            let case = Case::of(&model);
            let flags = format!("--structure {structure} --sparsity {sparsity} --round 4 --shots {shots}");
            let report = pruned(&case, &flags);
            let after = &report["shrunk"]["after"];
            assert_eq!(after["layers"], layers, "{flags}: {after}");
            assert_eq!(
                removed(&report),
                cheap.iter().map(|l| *l as u64).collect::<Vec<u64>>(),
                "{flags}"
            );
            if ffn > 0 {
                assert_eq!(after["ffn"], ffn, "{flags}");
            } else {
                assert!(after["ffn"] != 48 || after["kv_heads"] != 2, "{after}");
            }
            assert_eq!(after["parameters"], elements(&case.output()));
            logits(&case, &case.output());
            if let (Some(layer), 48) = (cheap, ffn) {
                assert_skips(&case, &[layer]);
            }
        }
    }
}

/// Names, biases, positions and windows of other families; windows that differ from layer to layer stay with their layers.
#[test]
fn every_familys_layers() {
    // Gemma 3 also by a rule instead of a list, which no longer holds.
    for (family, rule) in [
        ("gemma3", None),
        ("gemma3", Some(2)),
        ("gemma2", None),
        ("gpt2", None),
        ("opt", None),
        ("qwen3", None),
    ] {
        let case = golden(family);
        if let Some(pattern) = rule {
            let mut config = config(&case.model());
            config.as_object_mut().unwrap().remove("layer_types");
            config["sliding_window_pattern"] = json!(pattern);
            fs::write(case.model().join("config.json"), config.to_string()).unwrap();
        }
        let (key, old) = match config(&case.model()) {
            config if config.get("n_layer").is_some() => ("n_layer", config["n_layer"].clone()),
            config => ("num_hidden_layers", config["num_hidden_layers"].clone()),
        };
        let layers = old.as_u64().unwrap();
        let sparsity = 1.0 / layers as f64;
        let report = pruned(&case, &format!("--structure layers --sparsity {sparsity} --shots 1"));
        let gone = removed(&report);
        assert_eq!(gone.len(), 1, "{family}");
        assert_eq!(config(&case.output())[key], layers - 1, "{family}");
        assert_skips(&case, &[gone[0] as usize]);
        // Any other could have been cheaper: the first goes, so that all others move.
        let mut model = source(&case);
        scaled(&mut model, &[0], 1e-3);
        let tokenizer = fs::read(case.model().join("tokenizer.json")).unwrap();
        model.write(&case.model());
        fs::write(case.model().join("tokenizer.json"), tokenizer).unwrap();
        fs::remove_dir_all(case.output()).unwrap();
        let flags = format!("--structure layers --sparsity {sparsity} --score block-influence");
        let gone = removed(&pruned(&case, &flags));
        assert_eq!(gone.len(), 1);
        assert_skips(&case, &[gone[0] as usize]);
        if family.starts_with("gemma") {
            let types = config(&case.output())["layer_types"].as_array().unwrap().len();
            assert_eq!(types as u64, layers - 1, "{family}");
        }
    }
}

#[test]
fn what_makes_no_sense() {
    let refused = |flags: &str, culprits: &[&str]| {
        let case = Case::new();
        let flags = format!("--method surgeon --sparsity 0.5 {flags}");
        case.prune(&flags.split(' ').collect::<Vec<_>>()).fails(2, culprits);
        assert!(!case.output().exists());
    };
    refused("--structure layers --layout padded", &["--layout padded", "layers"]);
    refused(
        "--structure layers --score magnitude",
        &["layers", "magnitude", "block-influence"],
    );
    refused(
        "--structure ffn,layers --score block-influence",
        &["layers", "block-influence"],
    );
    refused(
        "--structure ffn --score block-influence",
        &["block-influence", "layers"],
    );
    refused("--structure layers --round 8", &["--round"]);
    let case = Case::new();
    let flags = ["--method", "surgeon", "--sparsity", "0.1", "--structure", "layers"];
    case.prune(&flags)
        .fails(2, &["--sparsity 0.1", "2 layers", "50.0 %", "ffn,layers"]);
    let case = Case::of(&Model::of_layers(1));
    let flags = ["--method", "surgeon", "--sparsity", "0.5", "--structure", "layers"];
    case.prune(&flags).fails(2, &["the only layer"]);
}
