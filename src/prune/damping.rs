//! What is added to the diagonal of a Gram before it is solved with.

/// Which energy the damping is a fraction of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DampingRule {
    /// Each input's own: loud inputs do not drown quiet ones.
    #[default]
    Own,
    /// The mean over the inputs, as SparseGPT and ALPS have it.
    Mean,
}

impl DampingRule {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            DampingRule::Own => "own",
            DampingRule::Mean => "mean",
        }
    }
}

/// Damping of a Gram.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Damping {
    /// What the fraction refers to.
    pub rule: DampingRule,
    /// Fraction of that energy.
    pub fraction: f64,
}

impl Damping {
    /// A diagonal element with its damping.
    pub(super) fn of(&self, energy: f64, mean: f64) -> f64 {
        match self.rule {
            DampingRule::Own => energy * (1.0 + self.fraction),
            DampingRule::Mean => energy + self.fraction * mean,
        }
    }
}
