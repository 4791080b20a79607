//! What `secateur inspect` shows.

use serde::Serialize;

use super::layout::{percent, table};

/// Linears of one role and shape.
#[derive(Clone, Debug, Serialize)]
pub struct LinearKind {
    /// Role.
    pub role: String,
    /// `[outputs, inputs]`.
    pub shape: [usize; 2],
    /// How many there are in the model.
    pub count: usize,
    /// Stored types, usually one.
    pub dtypes: Vec<String>,
    /// Whether they have biases.
    pub bias: bool,
    /// Weights in all of them.
    pub weights: usize,
    /// Zeros among them.
    pub zeros: usize,
    /// Inputs that no output reads, all of them together: neurons and heads that are padding show in down and o.
    pub zero_inputs: usize,
    /// Largest M up to 16, a power of two, of which the width is a multiple: N:M patterns with it fit.
    pub pattern_m: usize,
}

/// A checkpoint.
#[derive(Clone, Debug, Serialize)]
pub struct InspectRecord {
    /// Folder.
    pub model: String,
    /// Identity: BLAKE3 of config, headers and the start of each tensor.
    pub fingerprint: String,
    /// Family file that matched.
    pub family: String,
    /// Decoder layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the MLP.
    pub ffn: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Tokens.
    pub vocabulary: usize,
    /// Longest context.
    pub max_positions: usize,
    /// Experts per layer and per token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<[usize; 2]>,
    /// Layers that see a sliding window only, and its width.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sliding: Option<[usize; 2]>,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Whether texts need a BOS token.
    pub needs_bos: bool,
    /// Parameters in all files.
    pub parameters: usize,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Weight files.
    pub shards: usize,
    /// Prunable linears.
    pub linears: Vec<LinearKind>,
    /// Tensors in the files that the family does not name; a prune passes them through.
    pub extra_tensors: Vec<String>,
}

/// The record as text.
pub fn inspect_table(record: &InspectRecord) -> String {
    let mut out = table(&[
        "linear",
        "outputs",
        "inputs",
        "number",
        "type",
        "bias",
        "weights",
        "zeros",
        "fits M up to",
    ]);
    let (mut weights, mut zeros) = (0, 0);
    for kind in &record.linears {
        weights += kind.weights;
        zeros += kind.zeros;
        out.add_row([
            kind.role.clone(),
            kind.shape[0].to_string(),
            kind.shape[1].to_string(),
            kind.count.to_string(),
            kind.dtypes.join(", "),
            if kind.bias { "yes" } else { "no" }.to_string(),
            kind.weights.to_string(),
            percent(kind.zeros as f64 / kind.weights.max(1) as f64),
            kind.pattern_m.to_string(),
        ]);
    }
    let mut lines = vec![
        format!(
            "{}: {} family, {} decoder layers, hidden {}, MLP {}, {} heads ({} key/value) of {}, vocabulary {}, {} positions",
            record.model,
            record.family,
            record.layers,
            record.hidden,
            record.ffn,
            record.heads,
            record.kv_heads,
            record.head_dim,
            record.vocabulary,
            record.max_positions,
        ),
        format!(
            "{} parameters, {:.0} MiB in {} weight file(s), head {}",
            record.parameters,
            record.bytes as f64 / f64::from(1 << 20),
            record.shards,
            if record.tied {
                "tied to the embedding"
            } else {
                "of its own"
            },
        ),
    ];
    if let Some([count, per_token]) = record.experts {
        lines.push(format!("mixture of {count} experts, {per_token} per token"));
    }
    if let Some([layers, window]) = record.sliding {
        lines.push(format!("{layers} layers attend to a window of {window} tokens"));
    }
    if record.needs_bos {
        lines.push("texts need a BOS token: eval and prune put one before every window and sample".into());
    }
    lines.push(out.to_string());
    lines.push(format!(
        "prunable: {weights} weights, {} of the parameters; {} of them are zero already",
        percent(weights as f64 / record.parameters.max(1) as f64),
        percent(zeros as f64 / weights.max(1) as f64),
    ));
    for kind in record.linears.iter().filter(|kind| kind.zero_inputs > 0) {
        lines.push(format!(
            "{}: {} of {} inputs are read by no output, as where `--layout padded` fills layers up",
            kind.role,
            kind.zero_inputs,
            kind.count * kind.shape[1],
        ));
    }
    if !record.extra_tensors.is_empty() {
        let shown: Vec<&str> = record.extra_tensors.iter().take(4).map(String::as_str).collect();
        let more = record.extra_tensors.len() - shown.len();
        lines.push(format!(
            "{} tensors are not the family's and pass through: {}{}",
            record.extra_tensors.len(),
            shown.join(", "),
            if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            },
        ));
    }
    lines.join("\n")
}
