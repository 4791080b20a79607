//! Names of the scores by which whole units are removed; `score_rows` says what each is.

use serde::Serialize;

/// By what the units to remove are chosen, and with it what becomes of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// LLM Surgeon's curvature.
    #[default]
    Surgeon,
    /// Squared weights.
    Magnitude,
    /// Weights times the energy of inputs.
    WandaSp,
    /// Weights times the variance of inputs.
    Flap,
    /// Error after least squares.
    Osscar,
    /// How far a decoder layer turns the hidden states.
    BlockInfluence,
}
