//! Points inside a decoder layer where the inputs of linears are.

use super::LinearSpec;

/// A point inside a decoder layer whose activations can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivationSite {
    /// Normalised input of q, k and v.
    AttentionInput,
    /// Input of o.
    AttentionOutput,
    /// Normalised input of gate and up.
    MlpInput,
    /// Input of down.
    MlpHidden,
    /// Rows of the MLP's input that go through an expert.
    ExpertInput(usize),
    /// Input of an expert's down.
    ExpertHidden(usize),
    /// The layer's output (residual stream).
    Output,
}

impl ActivationSite {
    /// Whether it lies in the second half of a layer.
    pub fn in_mlp(self) -> bool {
        !matches!(self, ActivationSite::AttentionInput | ActivationSite::AttentionOutput)
    }

    /// Name in files: `attention_input`, or `expert_hidden.3` for expert 3.
    pub fn name(self) -> String {
        match self {
            ActivationSite::AttentionInput => "attention_input".into(),
            ActivationSite::AttentionOutput => "attention_output".into(),
            ActivationSite::MlpInput => "mlp_input".into(),
            ActivationSite::MlpHidden => "mlp_hidden".into(),
            ActivationSite::ExpertInput(expert) => format!("expert_input.{expert}"),
            ActivationSite::ExpertHidden(expert) => format!("expert_hidden.{expert}"),
            ActivationSite::Output => "output".into(),
        }
    }
}

/// Linears that read the same activations.
#[derive(Clone, Debug)]
pub struct Group {
    /// Where their input is.
    pub input: ActivationSite,
    /// Which linears, in the order of pruning.
    pub linears: Vec<LinearSpec>,
}
