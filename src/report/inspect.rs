//! What `secateur inspect` shows.

use serde::Serialize;

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
