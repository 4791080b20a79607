//! What `pruning_report.json` and `--json` hold. Field names are a public format: add, do not rename.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ShotRecord;

/// Settings of a run as resolved.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Settings {
    /// Source checkpoint.
    pub model: String,
    /// Output folder.
    pub output: String,
    /// Family file that matched.
    pub family: String,
    /// Method.
    pub method: String,
    /// Why it was chosen, where the user left that open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
    /// Options that only this method has, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub method_options: BTreeMap<String, String>,
    /// Pattern, e.g. `2:4` or `50 %`.
    pub pattern: String,
    /// Fraction of zeros asked for.
    pub sparsity: f64,
    /// Conjugate-gradient steps of the refit; 0 is off.
    pub refit: usize,
    /// Damping of the Gram, as a fraction.
    pub damping: f64,
    /// What the damping is a fraction of: `own` energy or `mean`.
    #[serde(default)]
    pub damping_rule: String,
    /// Share of earlier errors that is corrected.
    #[serde(default)]
    pub correction: f64,
    /// Damping of the factor of gradients, of LLM Surgeon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_damping: Option<f64>,
    /// Shots of LLM Surgeon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shots: Option<usize>,
    /// Targets of its backward passes: `empirical` (the text's tokens) or `sampled` (the model's own).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fisher: Option<String>,
    /// Half-steps from K-FAC's curvature towards the nearest Kronecker product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_steps: Option<usize>,
    /// Removed weights that LLM Surgeon makes up for together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_correlate: Option<usize>,
    /// What was removed whole: `ffn` (neurons), `heads` (key/value heads with their queries), `layers`. Absent if single weights were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structure: Option<String>,
    /// By what units were chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<String>,
    /// What made up for units that LLM Surgeon removed: `columns`, `both` or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<String>,
    /// `uniform` or `padded` widths of the layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// What the width of the MLP was rounded to a multiple of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<usize>,
    /// Which inputs a decoder layer sees: `dense`, `local`, `both` or `pruned`.
    pub propagate: String,
    /// Which inputs linear layers see inside a decoder layer: `layer` or `linear`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// Whether inputs that another linear writes were permuted where that gains.
    #[serde(default)]
    pub permute: bool,
    /// How the sparsity was spread over the linears: `uniform`, `curvature`, `lsa` or `owl`.
    #[serde(default)]
    pub allocation: String,
    /// How far that may lie from the target; of `lsa` and `owl` half of the span. Absent if all have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<f64>,
    /// Stored type of the activations between layers.
    pub activations: String,
    /// Rows of activations that go through a layer at once.
    pub batch_rows: usize,
    /// Folder of the saved statistics the inputs came from: those of the dense model, and no error made earlier in a
    /// layer was corrected. Absent if inputs were captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<String>,
}

/// Where the calibration tokens came from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CalibrationRecord {
    /// Text file.
    pub source: String,
    /// Rule by which samples were drawn.
    pub rule: String,
    /// Number of samples.
    pub samples: usize,
    /// Tokens per sample.
    pub length: usize,
    /// Seed of the draw.
    pub seed: u64,
    /// Sets of so many samples, of which each shot has one; where there are fewer than shots they come again. `None` where all
    /// is done with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sets: Option<usize>,
    /// blake3 of the token ids, of all sets.
    pub token_hash: String,
}

/// The device that did the work.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AdapterRecord {
    /// Name.
    pub name: String,
    /// `wgpu` or `host`.
    pub executor: String,
    /// Whether blocks of attention were kept in 16 bits.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub half_attention: bool,
}

/// One pruned linear.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LinearRecord {
    /// Decoder layer.
    pub layer: usize,
    /// Role: q, k, v, qkv, o, gate, up, gate_up, down.
    pub role: String,
    /// Expert, in a mixture of experts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expert: Option<usize>,
    /// Tensor name.
    pub tensor: String,
    /// `[outputs, inputs]`.
    pub shape: [usize; 2],
    /// Calibration tokens that went through it.
    pub tokens: usize,
    /// Relative layer error ‖VX* − WX‖² / ‖WX‖² of the warm start; where no input is known, that of the weights, and none
    /// where units went and the shapes differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_before: Option<f64>,
    /// The same of the weights as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_after: Option<f64>,
    /// Zeros in the written bytes.
    pub zeros: usize,
    /// Zeros the input had already.
    pub input_zeros: usize,
    /// zeros / weights.
    pub sparsity: f64,
    /// Outer rounds of the method.
    pub rounds: usize,
    /// Penalty of the last round that gained, relative to the mean scaled weight.
    pub lambda: f64,
    /// Arithmetic of the solves, of all shots, in products of the weight with the Gram (2 rows cols² flops).
    #[serde(default)]
    pub products: f64,
    /// Factorisations of the group's Gram that failed and were repeated with more damping.
    #[serde(default)]
    pub damping_raised: usize,
    /// Parts of it whose correlated update was worse than zeroing alone, so that they were only zeroed.
    #[serde(default)]
    pub updates_rejected: usize,
    /// Loss in nats a token that the curvature of LLM Surgeon expects of the last shot: had the weights only been zeroed,
    /// and as updated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curvature_cost: Option<[f64; 2]>,
    /// Largest eigenvalue of the scaled Gram.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lipschitz: Option<f64>,
    /// Inputs that are never active.
    pub dead_inputs: usize,
    /// Kept weights that would have become zero in the stored type and were set to its smallest number.
    pub raised: usize,
    /// Kept weights beyond the stored type's range that were set to its largest number.
    pub saturated: usize,
    /// Row blocks the matrix was cut into because it exceeds a binding (an unstructured ratio then holds per block).
    pub row_blocks: usize,
    /// Whether the inputs were put in another order, which the linear that writes them follows.
    #[serde(default)]
    pub permuted: bool,
    /// Share of the energy of an unstructured solution that the pattern keeps: in the inputs' own order and in this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permutation_kept: Option<[f64; 2]>,
    /// Seconds of the solve.
    pub seconds: f64,
}

impl LinearRecord {
    /// Of the warm start and as written; NaN where none was measured.
    pub fn errors(&self) -> [f64; 2] {
        [self.error_before, self.error_after].map(|error| error.unwrap_or(f64::NAN))
    }
}

/// Sizes of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSize {
    /// Decoder layers.
    #[serde(default)]
    pub layers: usize,
    /// Neurons of every layer's MLP.
    pub ffn: usize,
    /// Query heads of every layer.
    pub heads: usize,
    /// Key/value heads of every layer.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Elements of all tensors in the files.
    pub parameters: u64,
    /// Weights of the prunable linears among them.
    pub decoder_weights: u64,
    /// Neurons, of all layers together, that are nothing but zeros.
    pub padded_neurons: usize,
    /// Key/value heads, likewise.
    pub padded_kv_heads: usize,
}

/// A model that became smaller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shrunk {
    /// The source.
    pub before: ModelSize,
    /// The result, as counted in the written files.
    pub after: ModelSize,
}

/// Wall time by phase, in seconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Phases {
    /// Tokenising and embedding.
    pub prepare: f64,
    /// Measuring every linear for `--allocation`.
    #[serde(default)]
    pub allocate: f64,
    /// Forward passes and Gram accumulation.
    pub capture: f64,
    /// Solving the layer problems.
    pub solve: f64,
    /// Propagating to the next layer.
    pub propagate: f64,
    /// Writing and verifying.
    pub write: f64,
}

impl Phases {
    /// All phases together.
    pub fn total(&self) -> f64 {
        self.prepare + self.allocate + self.capture + self.solve + self.propagate + self.write
    }
}

/// Peak memory in bytes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Buffers on the device at once.
    pub device_peak: u64,
    /// Resident memory of the process, where the system tells.
    pub host_peak: Option<u64>,
    /// What the plan predicted for the device.
    pub predicted_device: u64,
    /// What the plan predicted for the host.
    pub predicted_host: u64,
}

/// Sums over all pruned linears, counted in the files as written.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Weights in pruned linears.
    pub weights: usize,
    /// Zeros among them.
    pub zeros: usize,
    /// zeros / weights.
    pub sparsity: f64,
    /// Zeros of the input among them.
    pub input_zeros: usize,
}

/// Everything about a run; written without times as `pruning_report.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PruneReport {
    /// Tool and version.
    pub tool: String,
    /// Settings as resolved.
    pub settings: Settings,
    /// blake3 of the input's config and headers.
    pub input_fingerprint: String,
    /// Calibration tokens.
    pub calibration: CalibrationRecord,
    /// Device.
    pub adapter: AdapterRecord,
    /// Sparsity asked of each tensor, where it was not the same for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated: Option<BTreeMap<String, f64>>,
    /// The shots of LLM Surgeon.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shots: Vec<ShotRecord>,
    /// Sizes before and after, where whole structures were removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrunk: Option<Shrunk>,
    /// One entry per pruned linear.
    pub linears: Vec<LinearRecord>,
    /// Sums over all of them.
    pub totals: Totals,
    /// Wall time by phase.
    pub phases: Phases,
    /// Peak memory.
    pub memory: Memory,
    /// What the user should know of the result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl PruneReport {
    /// The part that two runs of the same settings agree in, byte for byte: no times and no memory.
    pub fn reproducible(&self) -> Value {
        let mut value = serde_json::to_value(self).expect("a report is plain data");
        let fields = value.as_object_mut().expect("a struct");
        fields.remove("phases");
        fields.remove("memory");
        for linear in fields["linears"].as_array_mut().into_iter().flatten() {
            linear.as_object_mut().expect("a struct").remove("seconds");
        }
        value
    }
}

/// One evaluation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct EvalRecord {
    /// Checkpoint.
    pub model: String,
    /// Text file.
    pub text: String,
    /// Protocol id: `P1` (lines joined as the data set's rows) or `P1-raw` (the file as it is).
    pub protocol: String,
    /// Where a BOS token stands: `tokenizer` (where it puts one), `none`, `once` or `window`.
    pub bos: String,
    /// Tokens per window.
    pub context: usize,
    /// Windows evaluated.
    pub windows: usize,
    /// Tokens in the text.
    pub stream_tokens: usize,
    /// Positions scored.
    pub scored_tokens: usize,
    /// Stored type of the weights; sums are f32.
    pub dtype: String,
    /// Mean negative log-likelihood in nats.
    pub nll: f64,
    /// exp(nll).
    pub perplexity: f64,
    /// Standard error of the perplexity, from the spread of the windows' means.
    pub standard_error: f64,
    /// Share of positions whose most likely token is the right one.
    pub accuracy: f64,
    /// Mean KL(reference‖model) in nats, with `--against`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl_divergence: Option<f64>,
    /// Standard error of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl_standard_error: Option<f64>,
    /// Share of positions where both models put the same token first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top1_agreement: Option<f64>,
    /// Device.
    pub adapter: AdapterRecord,
    /// Wall time in seconds.
    pub seconds: f64,
}
