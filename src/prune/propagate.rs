//! Which inputs the layer problems are posed on.

/// Which inputs a decoder layer sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
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
