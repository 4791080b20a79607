//! What a report holds of the shots of LLM Surgeon. Field names are a public format, as those of [`super::PruneReport`].

use serde::{Deserialize, Serialize};

/// One shot of LLM Surgeon.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ShotRecord {
    /// From 1.
    pub shot: usize,
    /// Sparsity after it.
    pub sparsity: f64,
    /// Weights, or groups of N:M, that are removed after it; of structures those of the whole model.
    pub removed: u64,
    /// Mean cross entropy of the calibration samples before it, in nats a token, with `sampled` targets of those; absent where no backward pass was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Samples without a finite loss, which were left out.
    pub skipped_samples: usize,
    /// Layers it removed whole, by their numbers in the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<usize>,
    /// The search for a better solution than LLM Surgeon's, by `kfac-fista`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchRecord>,
    /// The low-rank correction after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correction: Option<CorrectionRecord>,
}

/// A low-rank correction after a shot, already in the weights. Layer errors in the report are those before it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CorrectionRecord {
    /// Of the two factors.
    pub rank: usize,
    /// Learning rate of the first step; it falls linearly to zero.
    pub rate: f64,
    /// Steps of Adam, of one sample each.
    pub steps: usize,
    /// Those of samples without a finite loss, which moved nothing.
    pub skipped_steps: usize,
    /// Mean loss of the first steps and of the last, as many as there are samples, in nats a token.
    pub loss: [f64; 2],
}

/// What a search of `kfac-fista` found in a shot. Losses are what the curvature expects of the shot, in nats a token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchRecord {
    /// Of LLM Surgeon's weights, where it began.
    pub start: f64,
    /// Of the best found.
    pub expected: f64,
    /// Penalty of that, for the whole model; 0 if none was better than the start.
    pub lambda: f64,
    /// Round of that, from 1; 0 likewise.
    pub round: usize,
}
