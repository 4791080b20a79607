//! KL divergence and agreement of two checkpoints on the same windows.

use super::perplexity::{EvalError, Perplexity, Windows, mean_and_error, of_losses};
use crate::model::{Activations, Decoder};

/// How far a model is from a reference.
#[derive(Clone, Copy, Debug)]
pub struct Divergence {
    /// Mean KL(reference‖model) per position, nats.
    pub kl: f64,
    /// Standard error of it, from the spread of the windows.
    pub kl_error: f64,
    /// Share of positions where both put the same token first.
    pub agreement: f64,
}

/// Compares a model with a reference at every position of every window, each with what leaves its last layer; and the
/// model's perplexity, of the same logits.
pub fn divergence(
    (reference, p): (&Decoder<'_>, &Activations),
    (model, q): (&Decoder<'_>, &Activations),
    windows: &Windows,
) -> Result<(Divergence, Perplexity), EvalError> {
    same_vocabulary(reference, model)?;
    let (states, losses) = reference.divergence_and_losses(p, (model, q), &windows.ids)?;
    let perplexity = of_losses(&losses, windows)?;
    let means: Vec<f64> = states
        .chunks(windows.context)
        .map(|w| w.iter().map(|s| s.kl).sum::<f64>() / w.len() as f64)
        .collect();
    if let Some(window) = means.iter().position(|m| !m.is_finite()) {
        return Err(EvalError::NonFinite { window });
    }
    let (kl, kl_error) = mean_and_error(&means);
    let same = states.iter().filter(|s| s.same_top).count();
    let agreement = same as f64 / states.len() as f64;
    let divergence = Divergence {
        kl,
        kl_error,
        agreement,
    };
    Ok((divergence, perplexity))
}

/// Fails unless both have the same tokens, without which nothing can be compared.
pub fn same_vocabulary(reference: &Decoder<'_>, model: &Decoder<'_>) -> Result<(), EvalError> {
    if reference.spec.vocabulary != model.spec.vocabulary {
        return Err(EvalError::Vocabulary {
            a: reference.checkpoint.dir().display().to_string(),
            a_size: reference.spec.vocabulary,
            b: model.checkpoint.dir().display().to_string(),
            b_size: model.spec.vocabulary,
        });
    }
    Ok(())
}
