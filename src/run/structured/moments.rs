//! Means and energies of what o and down read, summed on the host: scores that need no curvature live on them.

use crate::model::ActivationSite;

/// First and second moments of the inputs of o and down.
#[derive(Default)]
pub(in crate::run) struct LayerMoments {
    attention: Moments,
    hidden: Moments,
}

impl LayerMoments {
    /// Those at an activation site that reads units.
    pub(in crate::run) fn at(&mut self, site: ActivationSite) -> &mut Moments {
        if site.in_mlp() {
            &mut self.hidden
        } else {
            &mut self.attention
        }
    }

    /// `E[x_j]` of the inputs at an activation site.
    pub(in crate::run) fn mean(&self, site: ActivationSite) -> Vec<f64> {
        let moments = if site.in_mlp() { &self.hidden } else { &self.attention };
        moments.mean()
    }
}

/// Sums over tokens.
#[derive(Default)]
pub(in crate::run) struct Moments {
    sum: Vec<f64>,
    squares: Vec<f64>,
    tokens: usize,
}

impl Moments {
    /// Adds rows of `width` values, one per token.
    pub(in crate::run) fn add(&mut self, rows: &[f32], width: usize) {
        self.sum.resize(width, 0.0);
        self.squares.resize(width, 0.0);
        self.tokens += rows.len() / width;
        for row in rows.chunks(width) {
            for ((sum, square), x) in self.sum.iter_mut().zip(&mut self.squares).zip(row) {
                let x = f64::from(*x);
                *sum += x;
                *square += x * x;
            }
        }
    }

    /// `E[x_j]`.
    pub(in crate::run) fn mean(&self) -> Vec<f64> {
        self.over_tokens(&self.sum)
    }

    /// `E[x_j²]`.
    pub(in crate::run) fn energy(&self) -> Vec<f64> {
        self.over_tokens(&self.squares)
    }

    fn over_tokens(&self, sums: &[f64]) -> Vec<f64> {
        sums.iter().map(|sum| sum / self.tokens.max(1) as f64).collect()
    }
}
