//! Layer problems with known f64 statistics.

use secateur::gpu::{Gpu, Recording};
use secateur::linalg;
use secateur::prune::{Damping, DampingRule, GramStatistics, InputStatistics, InputSums};
use secateur::tensor::PanelMatrix;

use crate::common::{Data, eliminate, f64s, tensor};

pub(crate) const DAMPING: f64 = 0.01;

/// Tokens, correlated inputs with outlier channels, a drifted copy, and a weight.
pub(crate) struct Layer {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) tokens: usize,
    /// Dense inputs `[tokens, cols]`.
    pub(crate) dense: Vec<f32>,
    /// Inputs of the pruned stream.
    pub(crate) pruned: Vec<f32>,
    /// `[rows, cols]`.
    pub(crate) weight: Vec<f32>,
}

impl Layer {
    pub(crate) fn new(seed: u64, rows: usize, cols: usize, tokens: usize, drift: f32) -> Self {
        let mut data = Data::new(seed);
        let mix = data.normal(cols * cols);
        let mut dense = vec![0.0; tokens * cols];
        for row in dense.chunks_mut(cols) {
            // Power-law latent energies and a few loud channels, as real activations have.
            let latent: Vec<f32> = data
                .normal(cols)
                .iter()
                .enumerate()
                .map(|(i, v)| v / (1.0 + i as f32))
                .collect();
            for (c, value) in row.iter_mut().enumerate() {
                let mixed: f32 = latent.iter().enumerate().map(|(k, v)| v * mix[k * cols + c]).sum();
                *value = if c % 37 == 5 { 15.0 * mixed } else { mixed };
            }
        }
        let noise = data.normal(tokens * cols);
        let pruned = dense.iter().zip(&noise).map(|(d, n)| d + drift * n * d.abs()).collect();
        Layer {
            rows,
            cols,
            tokens,
            dense,
            pruned,
            weight: data.normal(rows * cols),
        }
    }

    /// Statistics as the walk gathers them on the device, damped by each input's own energy.
    pub(crate) fn inputs(&self, gpu: &Gpu) -> InputStatistics {
        self.inputs_damped(gpu, DampingRule::Own)
    }

    /// Statistics with a damping rule.
    pub(crate) fn inputs_damped(&self, gpu: &Gpu, rule: DampingRule) -> InputStatistics {
        let drifted = self.pruned != self.dense;
        let mut recording = Recording::new();
        let zeros = |r: &mut Recording| PanelMatrix::zeros(gpu, r, "test gram", self.cols).unwrap();
        let gram = zeros(&mut recording);
        let drift = drifted.then(|| [zeros(&mut recording), zeros(&mut recording)]);
        // Few tokens at a time, so that a device that binds little can take them.
        let step = 16 * self.cols;
        for (pruned, dense) in self.pruned.chunks(step).zip(self.dense.chunks(step)) {
            let delta: Vec<f32> = pruned.iter().zip(dense).map(|(p, d)| p - d).collect();
            let [x, delta] = [pruned, &delta].map(|v| tensor(gpu, v.len() / self.cols, self.cols, v));
            linalg::accumulate(&mut recording, gpu, &x, &x, &gram, true);
            if let Some([cross, square]) = &drift {
                linalg::accumulate(&mut recording, gpu, &delta, &x, cross, false);
                linalg::accumulate(&mut recording, gpu, &delta, &delta, square, true);
            }
        }
        linalg::finish(&mut recording, &gram);
        if let Some([_, square]) = &drift {
            linalg::finish(&mut recording, square);
        }
        gpu.submit(recording).unwrap();
        let sums = GramStatistics {
            inputs: InputSums::Gram(gram),
            drift,
            tokens: self.tokens,
        };
        let damping = Damping {
            rule,
            fraction: DAMPING,
        };
        InputStatistics::prepare(gpu, sums, damping, 1.0, "test").unwrap()
    }

    /// `‖V X* − W X‖² / tokens` straight from the tokens, in f64.
    pub(crate) fn error(&self, v: &[f64]) -> f64 {
        let (weight, dense, pruned) = (f64s(&self.weight), f64s(&self.dense), f64s(&self.pruned));
        let mut total = 0.0;
        for t in 0..self.tokens {
            let (x, p) = (
                &dense[t * self.cols..][..self.cols],
                &pruned[t * self.cols..][..self.cols],
            );
            for r in 0..self.rows {
                let (w, v) = (&weight[r * self.cols..][..self.cols], &v[r * self.cols..][..self.cols]);
                let difference: f64 = (0..self.cols).map(|c| v[c] * p[c] - w[c] * x[c]).sum();
                total += difference * difference;
            }
        }
        total / self.tokens as f64
    }

    /// Scales, damped unit-diagonal Gram and linear term in f64, from the tokens.
    pub(crate) fn oracle(&self) -> Oracle {
        let n = self.cols;
        let (dense, pruned) = (f64s(&self.dense), f64s(&self.pruned));
        let (mut gram, mut cross) = (vec![0.0; n * n], vec![0.0; n * n]);
        for t in 0..self.tokens {
            let (x, p) = (&dense[t * n..][..n], &pruned[t * n..][..n]);
            for i in 0..n {
                for j in 0..n {
                    gram[i * n + j] += p[i] * p[j] / self.tokens as f64;
                    cross[i * n + j] += x[i] * p[j] / self.tokens as f64;
                }
            }
        }
        let scale: Vec<f64> = (0..n)
            .map(|j| 1.0 / (gram[j * n + j] * (1.0 + DAMPING)).sqrt())
            .collect();
        let mut target = vec![0.0; self.rows * n];
        for r in 0..self.rows {
            for j in 0..n {
                let w = |i: usize| f64::from(self.weight[r * n + i]);
                let sum: f64 = (0..n).map(|i| w(i) * cross[i * n + j]).sum();
                target[r * n + j] = (sum + DAMPING * gram[j * n + j] * w(j)) * scale[j];
            }
        }
        for i in 0..n {
            for j in 0..n {
                gram[i * n + j] *= scale[i] * scale[j];
            }
            gram[i * n + i] = 1.0;
        }
        Oracle { n, gram, target, scale }
    }
}

/// The scaled, damped problem in f64: minimise `1/2 v H vᵀ − b vᵀ` per row.
pub(crate) struct Oracle {
    pub(crate) n: usize,
    pub(crate) gram: Vec<f64>,
    pub(crate) target: Vec<f64>,
    pub(crate) scale: Vec<f64>,
}

impl Oracle {
    /// Gradient at a scaled V.
    pub(crate) fn gradient(&self, v: &[f64]) -> Vec<f64> {
        let n = self.n;
        let mut out = vec![0.0; v.len()];
        for (r, row) in v.chunks(n).enumerate() {
            for j in 0..n {
                let product: f64 = row.iter().zip(self.gram[j * n..].iter()).map(|(a, b)| a * b).sum();
                out[r * n + j] = product - self.target[r * n + j];
            }
        }
        out
    }

    /// Exact minimiser on the support, by Gaussian elimination per row.
    pub(crate) fn solve_on(&self, support: &[f32]) -> Vec<f64> {
        let n = self.n;
        let mut out = vec![0.0; support.len()];
        for (r, mask) in support.chunks(n).enumerate() {
            let kept: Vec<usize> = (0..n).filter(|j| mask[*j] != 0.0).collect();
            let matrix = kept
                .iter()
                .map(|i| kept.iter().map(|j| self.gram[i * n + j]).collect())
                .collect();
            let right = kept.iter().map(|j| self.target[r * n + j]).collect();
            for (j, value) in kept.iter().zip(eliminate(matrix, right)) {
                out[r * n + j] = value;
            }
        }
        out
    }

    /// Unscaled weights of a scaled V.
    pub(crate) fn unscale(&self, v: &[f64]) -> Vec<f64> {
        v.iter().enumerate().map(|(i, v)| v * self.scale[i % self.n]).collect()
    }
}
