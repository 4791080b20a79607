//! Which inputs the layer problems are posed on.

/// Which inputs a decoder layer sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Propagate {
    /// Dense inputs; within the layer, pruned inputs with dense targets. Layers are independent (published FISTAPruner).
    #[default]
    Dense,
    /// Inputs from the pruned layers before; within the layer, targets of the dense layer on those same inputs.
    Local,
    /// Inputs from the pruned layers before, and targets of the dense model on its own: the error of all layers before is
    /// corrected too (asymmetric calibration, as GPTAQ). Experts get the tokens that the pruned stream routes to them.
    Both,
    /// Inputs from the pruned layers before, and targets on the same inputs everywhere (no correction, as SparseGPT).
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
    /// All those of the dense decoder layer on what enters it: its linear layers are pruned side by side, then it runs
    /// again (published SparseGPT, Wanda, RIA and ALPS).
    Layer,
    /// Each what the linear layers before it, already pruned, make of it: q, k, v, then o, gate and up, down (published
    /// FISTAPruner; "true sequential" of GPTQ).
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
