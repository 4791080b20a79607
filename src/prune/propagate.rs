//! Which inputs the layer problems are posed on.

/// Which inputs a decoder layer sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Propagate {
    /// Hidden states of the dense model, so decoder layers are independent. Within a decoder layer, inputs come from
    /// the pruned linear layers before, and targets from the dense ones (published FISTAPruner).
    #[default]
    Dense,
    /// Hidden states of the pruned layers before. Targets are what the dense decoder layer computes from those same
    /// hidden states.
    Local,
    /// Hidden states of the pruned layers before. Targets are those of the dense model on its own hidden states, so
    /// errors of all layers before are corrected too (asymmetric calibration, as GPTAQ). The routers of experts use
    /// the pruned hidden states.
    Both,
    /// Hidden states of the pruned layers before. Targets are what the dense weights compute from the same inputs, so
    /// no error is corrected (as SparseGPT).
    Pruned,
}

impl Propagate {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Propagate::Dense => "dense",
            Propagate::Local => "local",
            Propagate::Both => "both",
            Propagate::Pruned => "pruned",
        }
    }
}

/// Which inputs the linear layers inside a decoder layer see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Within {
    /// All inputs are what the dense decoder layer computes. Its linear layers are pruned independently, then the
    /// layer runs again, pruned (published SparseGPT, Wanda, RIA and ALPS).
    Layer,
    /// Each input is what the already pruned linear layers before it compute. The order is q, k and v, then o, then
    /// gate and up, then down (published FISTAPruner; "true sequential" of GPTQ).
    Linear,
}

impl Within {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Within::Layer => "layer",
            Within::Linear => "linear",
        }
    }
}

/// What a method must know of a linear layer's inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The norm of each.
    Norms,
    /// Their Gram matrix.
    Gram,
}
