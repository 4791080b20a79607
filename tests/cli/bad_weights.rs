//! Weights that are not numbers: the tensor is named, and nothing is left of the output.

use std::fs;

use serde_json::Value;

use super::Case;
use super::fixture::{Model, linear};

/// A checkpoint with one value of one tensor replaced.
fn with(tensor: &str, element: usize, value: f32) -> Case {
    let mut model = Model::small();
    let stored = model.tensor(tensor);
    let mut values = stored.values();
    values[element] = value;
    stored.set(&values);
    Case::of(&model)
}

/// Refused by both commands, naming file, tensor and element.
fn refused(tensor: &str, element: usize) {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let case = with(tensor, element, value);
        let culprits = [
            "model.safetensors",
            tensor,
            &format!("element {element}"),
            &value.to_string(),
        ];
        case.refused(1, &culprits);
        case.eval(&["--context", "32"]).fails(1, &culprits);
    }
}

#[test]
fn in_a_linear() {
    refused(&linear(0, "mlp.down_proj"), 700);
}

/// No forward pass sees the weights then.
#[test]
fn in_a_linear_pruned_from_statistics() {
    let tensor = linear(1, "mlp.up_proj");
    let case = Case::new();
    case.calibrate(&[]).succeeds();
    let file = case.model().join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let entries: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let at = 8 + header + entries[&tensor]["data_offsets"][0].as_u64().unwrap() as usize + 2 * 700;
    bytes[at..at + 2].copy_from_slice(&half::bf16::NAN.to_le_bytes());
    fs::write(&file, bytes).unwrap();
    let culprits = ["model.safetensors", &tensor[..], "element 700", "NaN"];
    for method in ["magnitude", "wanda", "admm"] {
        let flags = ["--pattern", "2:4", "--method", method];
        case.with_statistics("prune", &case.path(method), &flags)
            .fails(1, &culprits);
    }
}

#[test]
fn in_a_matrix_of_an_unknown_model() {
    let mut model = Model::small();
    model.config["architectures"] = serde_json::json!(["SecateurTestForCausalLM"]);
    let tensor = linear(0, "mlp.down_proj");
    let mut values = model.tensor(&tensor).values();
    values[700] = f32::INFINITY;
    model.tensor(&tensor).set(&values);
    let case = Case::of(&model);
    let flags = ["--pattern", "2:4", "--method", "magnitude"];
    case.prune(&flags)
        .fails(1, &["model.safetensors", &tensor, "element 700", "inf"]);
    assert!(!case.output().exists());
}

#[test]
fn in_a_norm() {
    refused("model.layers.0.post_attention_layernorm.weight", 31);
}

#[test]
fn in_the_embedding() {
    refused("model.embed_tokens.weight", 3 * 32 + 5);
}

/// Pruning does not need the final norm and the head, so only `eval` reads them.
#[test]
fn in_what_only_evaluation_reads() {
    for (tensor, element) in [("model.norm.weight", 0), ("lm_head.weight", 63 * 32)] {
        for value in [f32::NAN, f32::INFINITY] {
            let case = with(tensor, element, value);
            let culprits = ["model.safetensors", tensor, &format!("element {element}")];
            case.eval(&["--context", "32"]).fails(1, &culprits);
        }
    }
}

/// Finite weights whose products are not: no tensor is to blame, so the place is named.
#[test]
fn so_large_that_the_model_overflows() {
    let mut model = Model::small();
    model.tensor(&linear(0, "mlp.up_proj")).set(&[3e38; 48 * 32]);
    let case = Case::of(&model);
    case.refused(1, &["layer 0", "not finite"]);
    case.eval(&["--context", "32"]).fails(1, &["not finite"]);
}
