//! Checkpoints that are incomplete, damaged or not of a kind we know: refused before any work, for `prune` and `eval`.

use std::fs;

use safetensors::tensor::Dtype;
use serde_json::{Value, json};

use super::Case;
use super::fixture::{Model, linear, shard_name};

const WEIGHTS: &str = "model.safetensors";

/// A checkpoint whose `config.json` has another value (or, with `null`, none) for a key.
fn configured(key: &str, value: Value) -> Case {
    let mut model = Model::small();
    model.config[key] = value;
    Case::of(&model)
}

/// Refused by `prune` and, with the same culprits, by `eval`.
fn refused(case: &Case, code: i32, culprits: &[&str]) {
    case.refused(code, culprits);
    case.eval(&["--context", "32"]).fails(code, culprits);
}

#[test]
fn a_folder_that_is_not_there() {
    let case = Case::new();
    fs::remove_dir_all(case.model()).unwrap();
    refused(&case, 1, &[case.model().to_str().unwrap(), "no such directory"]);
    fs::write(case.model(), "a file").unwrap();
    refused(&case, 1, &[case.model().to_str().unwrap(), "this is a file"]);
}

#[test]
fn a_file_that_is_not_there() {
    for (name, culprits) in [
        ("config.json", ["model/config.json", "missing"]),
        ("tokenizer.json", ["model/tokenizer.json", "missing"]),
        (WEIGHTS, ["model.safetensors", "found"]),
    ] {
        let case = Case::new();
        fs::remove_file(case.model().join(name)).unwrap();
        refused(&case, 1, &culprits);
    }
}

#[test]
fn a_shard_that_is_not_there() {
    let case = Case::of(&Model {
        shards: 3,
        ..Model::small()
    });
    fs::remove_file(case.model().join(shard_name(1, 3))).unwrap();
    refused(
        &case,
        1,
        &[&shard_name(1, 3), "missing", "model.safetensors.index.json"],
    );
}

#[test]
fn files_that_are_not_json() {
    for (name, culprits) in [
        ("config.json", "not a JSON object"),
        ("tokenizer.json", "not a usable tokenizer"),
    ] {
        let case = Case::new();
        fs::write(case.model().join(name), "{\n \"a\": ").unwrap();
        refused(&case, 1, &[name, culprits]);
    }
}

#[test]
fn weights_cut_short() {
    let case = Case::new();
    let path = case.model().join(WEIGHTS);
    let bytes = fs::read(&path).unwrap();
    for kept in [0, 5, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..kept]).unwrap();
        refused(&case, 1, &[WEIGHTS, &kept.to_string()]);
    }
}

#[test]
fn a_header_that_lies_about_offsets() {
    let case = Case::new();
    let path = case.model().join(WEIGHTS);
    let bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let norm = "model.norm.weight";
    // Backwards, onto its neighbour, and far beyond the file.
    for offsets in [json!([64, 0]), json!([2, 66]), json!([u64::MAX - 64, u64::MAX])] {
        let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        header[norm]["data_offsets"] = offsets;
        let header = header.to_string().into_bytes();
        let file = [&(header.len() as u64).to_le_bytes()[..], &header, &bytes[8 + length..]].concat();
        fs::write(&path, file).unwrap();
        refused(&case, 1, &[WEIGHTS, "tensor "]);
    }
}

#[test]
fn sizes_that_do_not_fit_the_weights() {
    let embedding = ["model.safetensors", "model.embed_tokens.weight", "[64, 32]"];
    refused(&configured("hidden_size", json!(16)), 1, &embedding);
    refused(&configured("hidden_size", json!(1usize << 60)), 1, &embedding);
    refused(&configured("vocab_size", json!(65)), 1, &embedding);
    refused(
        &configured("num_hidden_layers", json!(3)),
        1,
        &["model.layers.2.self_attn.q_proj.weight"],
    );
    refused(
        &configured("intermediate_size", json!(40)),
        1,
        &["mlp.gate_proj.weight", "[48, 32]", "[40, 32]"],
    );
    refused(
        &configured("num_key_value_heads", json!(3)),
        1,
        &["config.json", "3 key/value heads"],
    );
    refused(
        &configured("num_attention_heads", json!(0)),
        1,
        &["config.json", "0 heads"],
    );
    refused(
        &configured("num_hidden_layers", json!(0)),
        1,
        &["config.json", "num_hidden_layers"],
    );
    refused(
        &configured("hidden_size", json!(null)),
        1,
        &["config.json", "hidden_size", "absent"],
    );
    refused(
        &configured("hidden_size", json!("32")),
        1,
        &["config.json", "hidden_size", "\"32\""],
    );
}

#[test]
fn a_tensor_with_swapped_sizes() {
    let mut model = Model::small();
    let name = linear(1, "mlp.down_proj");
    model.tensor(&name).shape.reverse();
    refused(
        &Case::of(&model),
        1,
        &["model.safetensors", &name, "[48, 32]", "[32, 48]"],
    );
}

#[test]
fn a_tensor_of_whole_numbers() {
    let mut model = Model::small();
    let name = linear(1, "mlp.up_proj");
    let tensor = model.tensor(&name);
    tensor.store_as(Dtype::F32);
    tensor.dtype = Dtype::I32;
    refused(&Case::of(&model), 3, &["model.safetensors", &name, "I32"]);
}

#[test]
fn a_tensor_that_is_not_there() {
    let mut model = Model::small();
    let name = linear(0, "self_attn.o_proj");
    model.tensors.retain(|tensor| tensor.name != name);
    refused(&Case::of(&model), 1, &[&name, "in none of its files"]);
}

#[test]
fn architectures_and_settings_we_do_not_know() {
    let bloom = configured("architectures", json!(["BloomForCausalLM"]));
    refused(&bloom, 3, &["config.json", "BloomForCausalLM", "LlamaForCausalLM"]);
    refused(
        &configured("attention_bias", json!(true)),
        1,
        &["self_attn.q_proj.bias"],
    );
    refused(&configured("mlp_bias", json!(true)), 1, &["mlp.gate_proj.bias"]);
    refused(
        &configured("hidden_act", json!("xielu")),
        3,
        &["config.json", "hidden_act", "xielu"],
    );
    let scaling = json!({ "rope_type": "spiral", "factor": 2.0 });
    refused(
        &configured("rope_scaling", scaling),
        3,
        &["config.json", "rope_scaling", "spiral"],
    );
}
