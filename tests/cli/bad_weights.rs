//! Weights that are not numbers: the tensor is named, and nothing is left of the output.

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
