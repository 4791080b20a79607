//! `prune --structure` as a user runs it: the promised shapes and counts, the same logits as with zeros in place, resuming,
//! every family's layout, and what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::{Value, json};

use super::fixture::{FFN, HIDDEN, LAYERS, Model, Stored, linear};
use super::{Case, listing, run, secateur, weights};

/// Weights of the linears of a layer of the fixture, of one of its neurons, of one of its two key/value heads.
pub(super) const LAYER: usize = 3 * HIDDEN * HIDDEN + 3 * FFN * HIDDEN;
const NEURON: usize = 3 * HIDDEN;
const GROUP: usize = 3 * HIDDEN * HIDDEN / 2;

pub(super) fn pruned(case: &Case, flags: &str) -> Value {
    let flags: Vec<&str> = ["--method", "surgeon", "--json"]
        .into_iter()
        .chain(flags.split(' '))
        .collect();
    case.prune(&flags).json()
}

pub(super) fn elements(folder: &Path) -> usize {
    weights(folder).iter().map(|t| t.shape.iter().product::<usize>()).sum()
}

pub(super) fn config(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap()
}

pub(super) fn tensors(folder: &Path) -> BTreeMap<String, Stored> {
    weights(folder).into_iter().map(|t| (t.name.clone(), t)).collect()
}

/// Logits of the first window of the case's text.
pub(super) fn logits(case: &Case, folder: &Path) -> Vec<f32> {
    let file = case.path("logits.safetensors");
    let mut command = secateur();
    command.arg("eval").arg(folder).arg("--text").arg(case.text());
    command.args(["--adapter", "cpu", "--context", "32", "--windows", "1", "--dump-logits"]);
    run(command.arg(&file)).succeeds();
    let bytes = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    Stored::from_view("logits", &tensors.tensor("logits").unwrap()).values()
}

/// Sums in another order: a few hundred roundings of the largest logit.
pub(super) fn assert_same_logits(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest > 0.01, "logits that say nothing");
    assert!(worst <= 512.0 * f32::EPSILON * largest, "{worst} of {largest}");
}

#[test]
fn the_model_has_the_promised_size() {
    for (flags, ffn, kv_heads) in [
        ("--structure ffn --sparsity 0.2 --shots 1", 32, 2),
        ("--structure ffn --sparsity 0.2 --shots 3", 32, 2),
        ("--structure ffn --sparsity 0.22 --round 1 --shots 2", 30, 2),
        ("--structure heads --sparsity 0.2 --shots 2", 48, 1),
        ("--structure ffn --sparsity 0.2 --score osscar", 32, 2),
        ("--structure heads --sparsity 0.2 --score flap", 48, 1),
        ("--structure ffn --sparsity 0.2 --score wanda-sp", 32, 2),
        ("--structure ffn --sparsity 0.2 --score magnitude --shots 2", 32, 2),
    ] {
        let case = Case::new();
        let plan = case
            .prune(
                &[
                    &["--method", "surgeon", "--json", "--dry-run"],
                    &flags.split(' ').collect::<Vec<_>>()[..],
                ]
                .concat(),
            )
            .json();
        assert!(!case.output().exists());
        let report = pruned(&case, flags);
        let gone = LAYERS * ((FFN - ffn) * NEURON + (2 - kv_heads) * GROUP);
        let after = elements(&case.output());
        assert_eq!(after, elements(&case.model()) - gone, "{flags}");
        assert_eq!(report["shrunk"]["after"]["parameters"], after, "{flags}");
        assert_eq!(report["shrunk"]["after"]["decoder_weights"], LAYERS * LAYER - gone);
        assert_eq!(report["shrunk"]["before"]["parameters"], elements(&case.model()));
        assert_eq!(plan["promises"].as_array().unwrap().len(), 1, "{plan}");
        assert_eq!(plan["promises"][0]["parameters"], after, "{flags}");
        let error = &report["linears"][0]["error_after"];
        assert!(error.is_null(), "not measured: {error}");
        let last = report["shots"].as_array().unwrap().last().unwrap();
        assert_eq!(last["removed"], gone);
        let (old, new) = (tensors(&case.model()), tensors(&case.output()));
        for layer in 0..LAYERS {
            for (name, shape) in [
                ("mlp.gate_proj", [ffn, HIDDEN]),
                ("mlp.up_proj", [ffn, HIDDEN]),
                ("mlp.down_proj", [HIDDEN, ffn]),
                ("self_attn.q_proj", [16 * kv_heads, HIDDEN]),
                ("self_attn.k_proj", [8 * kv_heads, HIDDEN]),
                ("self_attn.v_proj", [8 * kv_heads, HIDDEN]),
                ("self_attn.o_proj", [HIDDEN, 16 * kv_heads]),
            ] {
                let tensor = &new[&linear(layer, name)];
                assert_eq!(tensor.shape, shape, "{name}, {flags}");
                assert!(
                    tensor.values().iter().all(|v| v.is_finite() && *v != 0.0),
                    "{name}, {flags}"
                );
                let before = &old[&linear(layer, name)];
                assert!(
                    before.shape != shape || before.bytes == tensor.bytes,
                    "{name} changed, {flags}"
                );
                assert_eq!(before.dtype, tensor.dtype);
            }
        }
        let mut wanted = config(&case.model());
        wanted["intermediate_size"] = json!(ffn);
        if kv_heads < 2 {
            wanted["num_attention_heads"] = json!(2);
            wanted["num_key_value_heads"] = json!(1);
            wanted["head_dim"] = json!(8);
        }
        assert_eq!(config(&case.output()), wanted);
        assert!(!case.output().join(".secateur").exists());
        assert_eq!(listing(&case.output()).len(), listing(&case.model()).len() + 1);
        logits(&case, &case.output());
    }
}

#[test]
fn neurons_or_heads_by_their_cost() {
    let split = |cheap: &str| {
        let mut model = Model::small();
        for layer in 0..LAYERS {
            let tensor = model.tensor(&linear(layer, cheap));
            let values: Vec<f32> = tensor.values().iter().map(|v| v * 1e-3).collect();
            tensor.set(&values);
        }
        let case = Case::of(&model);
        let report = pruned(&case, "--structure ffn,heads --sparsity 0.2 --shots 2");
        let after = &report["shrunk"]["after"];
        assert_eq!(after["decoder_weights"], LAYERS * (LAYER - GROUP), "of both the same");
        [after["ffn"].as_u64().unwrap(), after["kv_heads"].as_u64().unwrap()]
    };
    assert_eq!(split("mlp.down_proj"), [32, 2]);
    assert_eq!(split("self_attn.o_proj"), [48, 1]);
}

#[test]
fn shards_and_their_index() {
    let mut model = Model::small();
    model.shards = 3;
    let case = Case::of(&model);
    pruned(&case, "--structure ffn,heads --sparsity 0.3 --shots 2");
    let read = |folder: &Path| -> Value {
        serde_json::from_slice(&fs::read(folder.join("model.safetensors.index.json")).unwrap()).unwrap()
    };
    let index = read(&case.output());
    assert_eq!(index["weight_map"], read(&case.model())["weight_map"]);
    let bytes: usize = weights(&case.output()).iter().map(|t| t.bytes.len()).sum();
    assert_eq!(index["metadata"]["total_size"], bytes);
    for name in listing(&case.output())
        .iter()
        .filter(|name| name.ends_with(".safetensors"))
    {
        let bytes = fs::read(case.output().join(name)).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
        assert_eq!(header.metadata().as_ref().unwrap()["note"], "kept");
    }
}

/// One layer, so that both layouts choose the same units: padded to the old width it is the unshrunken model with zeros.
#[test]
fn shrunken_is_as_good_as_zeroed() {
    for score in [
        "surgeon",
        "surgeon --update both",
        "surgeon --update none",
        "osscar",
        "magnitude",
    ] {
        let flags = format!("--structure ffn --sparsity 0.1 --shots 1 --score {score}");
        let mut model = Model::of_layers(1);
        model.store_as(safetensors::Dtype::F32);
        let [small, large] = [0, 1].map(|_| Case::of(&model));
        let report = pruned(&small, &format!("{flags} --round 8"));
        assert_eq!(report["shrunk"]["after"]["ffn"], 40);
        let report = pruned(&large, &format!("{flags} --round 48 --layout padded"));
        assert_eq!(report["shrunk"]["after"]["ffn"], 48);
        assert_eq!(report["shrunk"]["after"]["padded_neurons"], 8);
        assert_same_logits(&logits(&small, &small.output()), &logits(&large, &large.output()));
        let [small_tensors, large_tensors, old] =
            [small.output(), large.output(), small.model()].map(|folder| tensors(&folder));
        for name in ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"] {
            let name = linear(0, name);
            let values: Vec<f32> = large_tensors[&name]
                .values()
                .into_iter()
                .filter(|v| *v != 0.0)
                .collect();
            assert_eq!(small_tensors[&name].values(), values, "{name}");
            // Whether what stays was updated.
            let untouched = values.iter().all(|v| old[&name].values().contains(v));
            let updates = match score {
                "surgeon --update both" => true,
                "surgeon" | "osscar" => name.contains("down"),
                _ => false,
            };
            assert_eq!(untouched, !updates, "{name} by {score}");
        }
    }
}

#[test]
fn padded_layers_have_their_own_widths() {
    for (structure, shots) in [("ffn", 1), ("ffn", 3), ("ffn,heads", 2)] {
        let mut model = Model::small();
        let down = model.tensor(&linear(0, "mlp.down_proj"));
        let values: Vec<f32> = down.values().iter().map(|v| v * 0.02).collect();
        down.set(&values);
        let case = Case::of(&model);
        let flags = format!("--structure {structure} --sparsity 0.25 --shots {shots} --layout padded --round 4");
        let report = pruned(&case, &flags);
        let new = tensors(&case.output());
        let mut kept = Vec::new();
        for layer in 0..LAYERS {
            let gate = &new[&linear(layer, "mlp.gate_proj")];
            let rows: Vec<bool> = gate
                .values()
                .chunks(HIDDEN)
                .map(|row| row.iter().any(|v| *v != 0.0))
                .collect();
            let alive = rows.iter().filter(|alive| **alive).count();
            assert!(rows[..alive].iter().all(|alive| *alive), "zeros come last");
            let down = &new[&linear(layer, "mlp.down_proj")];
            for row in down.values().chunks(rows.len()) {
                assert!(row.iter().zip(&rows).all(|(v, alive)| (*v != 0.0) == *alive));
            }
            kept.push(alive);
        }
        assert!(kept[0] < kept[1], "{kept:?}");
        let after = &report["shrunk"]["after"];
        let width = after["ffn"].as_u64().unwrap() as usize;
        assert_eq!(width, kept[1].next_multiple_of(4));
        assert_eq!(after["padded_neurons"], 2 * width - kept[0] - kept[1]);
        assert_eq!(after["parameters"], elements(&case.output()));
        let found = run(secateur().arg("inspect").arg(case.output()).arg("--json")).json();
        let down = found["linears"]
            .as_array()
            .unwrap()
            .iter()
            .find(|l| l["role"] == "down");
        assert_eq!(down.unwrap()["zero_inputs"], after["padded_neurons"]);
        let removed = report["shots"].as_array().unwrap().last().unwrap()["removed"]
            .as_u64()
            .unwrap() as usize;
        let target = LAYERS * LAYER / 4;
        let largest = if structure == "ffn" { NEURON } else { GROUP };
        assert!(removed <= target && removed + largest > target, "{removed} of {target}");
        if structure == "ffn" {
            assert_eq!(removed, (LAYERS * FFN - kept[0] - kept[1]) * NEURON);
        }
        logits(&case, &case.output());
    }
}

/// FLAP compares units of all layers by scores standardised in each: the scale of one layer's does not matter.
#[test]
fn flap_does_not_mind_the_scale_of_a_layer() {
    let kept = |factor: f32| {
        let mut model = Model::small();
        let down = model.tensor(&linear(LAYERS - 1, "mlp.down_proj"));
        let values: Vec<f32> = down.values().iter().map(|v| v * factor).collect();
        down.set(&values);
        let case = Case::of(&model);
        pruned(
            &case,
            "--structure ffn --sparsity 0.25 --score flap --layout padded --round 1 --shots 2",
        );
        let new = tensors(&case.output());
        let gates = (0..LAYERS).map(|layer| new[&linear(layer, "mlp.gate_proj")].values());
        gates.collect::<Vec<_>>()
    };
    assert_eq!(kept(1.0), kept(0.125));
}

/// Where loaders derive the width of a head, heads go in place: the config stays, and the logits are those of the source
/// with what reads these heads zeroed.
#[test]
fn heads_that_can_only_be_padded() {
    for (family, o, groups, transposed, sparsity) in [
        ("gpt2", "attn.c_proj.weight", 3, true, 0.15),
        ("opt", "self_attn.out_proj.weight", 3, false, 0.15),
        ("gpt_neox", "attention.dense.weight", 2, false, 0.2),
        ("phi3_longrope_short", "self_attn.o_proj.weight", 2, false, 0.3),
    ] {
        let case = golden(family);
        let flags = "--structure heads --layout padded --score magnitude";
        let report = pruned(&case, &format!("{flags} --sparsity {sparsity}"));
        assert_eq!(config(&case.model()), config(&case.output()), "{family}");
        assert!(
            report["warnings"][0].as_str().unwrap().contains("zeros in their place"),
            "{family}: {report}"
        );
        let (mut wanted, result) = (tensors(&case.model()), tensors(&case.output()));
        let mut gone = 0;
        for (name, source) in wanted.iter_mut().filter(|(name, _)| name.ends_with(o)) {
            let columns = |tensor: &Stored| {
                let values = tensor.values();
                let [rows, cols] = [tensor.shape[0], tensor.shape[1]];
                match transposed {
                    true => values.chunks(cols).map(<[f32]>::to_vec).collect::<Vec<_>>(),
                    false => (0..cols)
                        .map(|j| (0..rows).map(|i| values[i * cols + j]).collect())
                        .collect(),
                }
            };
            let (before, after) = (columns(source), columns(&result[name]));
            let width = before.len() / groups;
            let kept: Vec<&[Vec<f32>]> = after.chunks(width).collect();
            let mut values = source.values();
            let cols = source.shape[1];
            for (group, block) in before
                .chunks(width)
                .enumerate()
                .filter(|(_, block)| !kept.contains(block))
            {
                gone += 1;
                for j in group * width..(group + 1) * width {
                    for i in 0..block[0].len() {
                        values[if transposed { j * cols + i } else { i * cols + j }] = 0.0;
                    }
                }
            }
            source.set(&values);
        }
        assert!(gone > 0, "{family}: no head went");
        let found = logits(&case, &case.output());
        let views = wanted.values().map(|t| (t.name.clone(), t.view()));
        safetensors::serialize_to_file(views, None, &case.model().join("model.safetensors")).unwrap();
        let wanted = logits(&case, &case.model());
        let most = wanted.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        for (found, wanted) in found.iter().zip(&wanted) {
            assert!((found - wanted).abs() <= 1e-3 * most, "{family}: {found} for {wanted}");
        }
    }
}

/// A tiny checkpoint of a family.
pub(super) fn golden(family: &str) -> Case {
    let case = Case::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/data")
        .join(family);
    for file in ["config.json", "model.safetensors"] {
        fs::copy(fixture.join(file), case.model().join(file)).unwrap();
    }
    let path = case.model().join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let words = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    words.retain(|_, id| id.as_u64().unwrap() < 47);
    fs::write(&path, tokenizer.to_string()).unwrap();
    case
}

/// Where a family keeps what reads units, and what it calls their numbers.
struct Layout {
    family: &'static str,
    down: &'static str,
    o: &'static str,
    transposed: bool,
    ffn: &'static str,
    flags: &'static str,
}

/// Zeros in the columns of the units of least magnitude; `left` of `units` stay.
fn zero_cheapest(tensor: &mut Stored, transposed: bool, units: usize, left: usize) {
    let [rows, cols] = if transposed {
        [tensor.shape[1], tensor.shape[0]]
    } else {
        [tensor.shape[0], tensor.shape[1]]
    };
    let (mut values, stride) = (tensor.values(), cols / units);
    let place = |i: usize, j: usize| if transposed { j * rows + i } else { i * cols + j };
    let columns = |unit: usize| unit * stride..(unit + 1) * stride;
    let energy = |unit: usize| -> f64 {
        let places = columns(unit).flat_map(|j| (0..rows).map(move |i| place(i, j)));
        places.map(|at| f64::from(values[at]).powi(2)).sum()
    };
    let mut order: Vec<usize> = (0..units).collect();
    order.sort_by(|a, b| energy(*a).total_cmp(&energy(*b)));
    for unit in &order[..units - left] {
        for j in columns(*unit) {
            (0..rows).for_each(|i| values[place(i, j)] = 0.0);
        }
    }
    tensor.set(&values);
}

#[test]
fn every_familys_layout() {
    for layout in [
        Layout {
            family: "gemma3",
            down: "model.layers.{}.mlp.down_proj.weight",
            o: "model.layers.{}.self_attn.o_proj.weight",
            transposed: false,
            ffn: "intermediate_size",
            flags: "--structure ffn,heads --sparsity 0.45",
        },
        Layout {
            family: "phi3",
            down: "model.layers.{}.mlp.down_proj.weight",
            o: "model.layers.{}.self_attn.o_proj.weight",
            transposed: false,
            ffn: "intermediate_size",
            flags: "--structure ffn,heads --sparsity 0.55",
        },
        Layout {
            family: "gpt2",
            down: "transformer.h.{}.mlp.c_proj.weight",
            o: "",
            transposed: true,
            ffn: "n_inner",
            flags: "--structure ffn --sparsity 0.2",
        },
        Layout {
            family: "opt",
            down: "model.decoder.layers.{}.fc2.weight",
            o: "",
            transposed: false,
            ffn: "ffn_dim",
            flags: "--structure ffn --sparsity 0.2",
        },
    ] {
        let case = golden(layout.family);
        let report = pruned(&case, &format!("{} --score magnitude", layout.flags));
        let (before, after) = (&report["shrunk"]["before"], &report["shrunk"]["after"]);
        let number = |size: &Value, key: &str| size[key].as_u64().unwrap() as usize;
        assert!(
            number(after, "ffn") < number(before, "ffn"),
            "{}: {report}",
            layout.family
        );
        assert_eq!(config(&case.output())[layout.ffn], after["ffn"]);
        assert_eq!(elements(&case.output()), number(after, "parameters"));
        if layout.o.is_empty() {
            assert!(config(&case.output()).get("head_dim").is_none());
        } else {
            assert_eq!(
                [number(after, "kv_heads"), number(after, "heads")],
                [1, 2],
                "{}",
                layout.family
            );
            assert_eq!(config(&case.output())["head_dim"], before["head_dim"]);
        }
        // The source with zeros where the units were read.
        let zeroed = case.path("zeroed");
        fs::create_dir(&zeroed).unwrap();
        for file in ["config.json", "tokenizer.json"] {
            fs::copy(case.model().join(file), zeroed.join(file)).unwrap();
        }
        let mut stored = tensors(&case.model());
        for layer in 0.. {
            let name = |pattern: &str| pattern.replace("{}", &layer.to_string());
            let Some(down) = stored.get_mut(&name(layout.down)) else {
                break;
            };
            zero_cheapest(down, layout.transposed, number(before, "ffn"), number(after, "ffn"));
            if let Some(o) = stored.get_mut(&name(layout.o)) {
                zero_cheapest(o, false, number(before, "kv_heads"), number(after, "kv_heads"));
            }
        }
        let model = Model {
            config: config(&case.model()),
            tensors: stored.into_values().collect(),
            shards: 1,
        };
        let tokenizer = fs::read(zeroed.join("tokenizer.json")).unwrap();
        model.write(&zeroed);
        fs::write(zeroed.join("tokenizer.json"), tokenizer).unwrap();
        assert_same_logits(&logits(&case, &zeroed), &logits(&case, &case.output()));
        // With gradients, updates and several shots it is a model too.
        let other = golden(layout.family);
        let report = pruned(&other, &format!("{} --shots 2", layout.flags));
        assert_eq!(
            elements(&other.output()),
            number(&report["shrunk"]["after"], "parameters")
        );
        logits(&other, &other.output());
    }
}

/// FLAP gives the biases what the removed units gave on average; without biases it says that it does not.
#[test]
fn flap_and_biases() {
    let case = golden("opt");
    let report = pruned(&case, "--structure ffn --sparsity 0.2 --score flap");
    assert!(report.get("warnings").is_none(), "{report}");
    let (old, new) = (tensors(&case.model()), tensors(&case.output()));
    let name = "model.decoder.layers.0.fc2.bias";
    assert_ne!(old[name].values(), new[name].values());
    let case = Case::new();
    let report = pruned(&case, "--structure ffn --sparsity 0.2 --score flap");
    assert!(report["warnings"][0].as_str().unwrap().contains("biases"), "{report}");
}

#[cfg(unix)]
#[test]
fn resumes_between_shots() {
    let flags = [
        "--method",
        "surgeon",
        "--structure",
        "ffn,heads",
        "--sparsity",
        "0.4",
        "--shots",
        "4",
        "--adapter",
        "cpu",
    ];
    let start = |case: &Case, output: &Path| {
        let mut command = secateur();
        command
            .arg("prune")
            .arg(case.model())
            .arg("--output")
            .arg(output)
            .arg("--calibration")
            .arg(case.text());
        command.args(flags).args(["--samples", "60", "--length", "128"]);
        command
    };
    let case = Case::of(&Model::of_layers(8));
    fs::write(case.text(), super::text(20_000)).unwrap();
    let stopped = super::interrupt::interrupted(&mut start(&case, &case.output()), "shot 3 of 4: costs");
    assert_eq!(stopped.code, Some(130), "{}", stopped.stderr);
    assert!(stopped.stderr.contains("2 of 4 shots are done"), "{}", stopped.stderr);
    run(start(&case, &case.output()).args(["--resume", "--round", "4"])).fails(1, &["round"]);
    run(start(&case, &case.output()).arg("--resume")).succeeds();
    let whole = case.path("whole");
    run(&mut start(&case, &whole)).succeeds();
    assert_eq!(weights(&case.output()), weights(&whole));
    assert_eq!(config(&case.output()), config(&whole));
    assert_eq!(listing(&case.output()), listing(&whole));
}

#[test]
fn what_makes_no_sense() {
    let refused_of = |case: &Case, flags: &str, culprits: &[&str]| {
        let flags: Vec<&str> = flags.split(' ').collect();
        case.prune(&flags).fails(2, culprits);
        assert!(!case.output().exists());
    };
    let case = Case::new();
    let refused = |flags: &str, culprits: &[&str]| refused_of(&case, flags, culprits);
    let surgeon = |flags: &str, culprits: &[&str]| refused_of(&case, &format!("--method surgeon {flags}"), culprits);
    refused(
        "--sparsity 0.2 --structure ffn --method admm",
        &["--structure", "--method surgeon", "admm"],
    );
    surgeon(
        "--pattern 2:4 --structure ffn",
        &["--structure", "--pattern", "--sparsity"],
    );
    surgeon("--sparsity 0.2 --structure heads --round 8", &["--round"]);
    surgeon("--sparsity 0.2 --structure ffn --round 0", &["--round"]);
    surgeon("--sparsity 0.2 --round 8", &["--round", "--structure"]);
    surgeon("--sparsity 0.2 --score flap", &["--score", "--structure"]);
    surgeon(
        "--sparsity 0.2 --structure ffn --score osscar --update both",
        &["--update"],
    );
    surgeon("--sparsity 0.2 --layout padded", &["--layout", "--structure"]);
    surgeon("--sparsity 0.2 --structure ffn --max-correlate 9", &["--max-correlate"]);
    surgeon(
        "--sparsity 0.2 --structure ffn --score osscar --output-damping 0.1",
        &["--output-damping"],
    );
    surgeon("--sparsity 0.01 --structure ffn", &["--sparsity 0.01", "--round", "48"]);
    surgeon("--sparsity 0.7 --structure ffn", &["--sparsity 0.7", "48"]);
    for family in ["gpt2", "opt", "gpt_neox", "stablelm"] {
        let flags = "--method surgeon --sparsity 0.2 --structure ffn,heads";
        refused_of(
            &golden(family),
            flags,
            &["heads", family, "hidden_size / num_attention_heads"],
        );
    }
    let flags = "--method surgeon --sparsity 0.2 --structure heads";
    refused_of(&golden("olmo2"), flags, &["olmo2", "norms"]);
    refused_of(&golden("phi3_longrope_short"), flags, &["phi3", "longrope"]);
    refused_of(
        &golden("mixtral"),
        "--method surgeon --sparsity 0.2 --structure ffn",
        &["mixtral", "experts"],
    );
}
