//! KL divergence and agreement of two checkpoints on the same windows.

use super::perplexity::{EvalError, Windows, mean_and_error};
use crate::model::Decoder;

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

/// Compares `model` with `reference` at every position of every window; `progress` hears of each layer of either.
pub fn divergence(
    reference: &Decoder<'_>,
    model: &Decoder<'_>,
    windows: &Windows,
    mut progress: impl FnMut(usize),
) -> Result<Divergence, EvalError> {
    if reference.spec.vocabulary != model.spec.vocabulary {
        return Err(EvalError::Vocabulary {
            a: reference.checkpoint.dir().display().to_string(),
            a_size: reference.spec.vocabulary,
            b: model.checkpoint.dir().display().to_string(),
            b_size: model.spec.vocabulary,
        });
    }
    let p = reference.run(&windows.ids, &mut progress)?;
    let done = reference.spec.layers;
    let q = model.run(&windows.ids, |layer| progress(done + layer))?;
    let states = reference.divergence(&p, model, &q)?;
    let means: Vec<f64> = states
        .chunks(windows.context)
        .map(|w| w.iter().map(|s| s.kl).sum::<f64>() / w.len() as f64)
        .collect();
    if let Some(window) = means.iter().position(|m| !m.is_finite()) {
        return Err(EvalError::NonFinite { window });
    }
    let (kl, kl_error) = mean_and_error(&means);
    let same = states.iter().filter(|s| s.same_top).count();
    Ok(Divergence {
        kl,
        kl_error,
        agreement: same as f64 / states.len() as f64,
    })
}
