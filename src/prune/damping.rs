//! What is added to the diagonal of a Gram before it is solved with, and once more where that was not enough.

use std::cell::Cell;

use super::PruneError;
use crate::gpu::GpuError;

/// What is added to a unit diagonal, one after the other, when a factorisation meets a pivot that is not positive.
const ESCALATION: [f32; 5] = [0.0, 1e-3, 1e-2, 1e-1, 1.0];

/// Which energy the damping is a fraction of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum DampingRule {
    /// Each input's own energy, so that inputs with high energy do not outweigh the others.
    #[default]
    Own,
    /// The mean energy of all inputs, as in SparseGPT and ALPS.
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

impl Default for Damping {
    /// A hundredth of each input's own energy.
    fn default() -> Self {
        Damping {
            rule: DampingRule::default(),
            fraction: 0.01,
        }
    }
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

/// Tries a factorisation of a matrix with a unit diagonal with more and more added to it until no pivot fails; `attempt`
/// returns the row of the first that did. Returns what was added; adds the failures to `failures`.
pub(super) fn escalate(
    place: &str,
    failures: &Cell<usize>,
    mut attempt: impl FnMut(f32) -> Result<Option<usize>, GpuError>,
) -> Result<f32, PruneError> {
    let mut first = 0;
    for shift in ESCALATION {
        match attempt(shift)? {
            None => return Ok(shift),
            Some(index) => first = index,
        }
        failures.set(failures.get() + 1);
    }
    Err(PruneError::NotPositive {
        place: place.to_string(),
        index: first,
    })
}
