//! LLM Surgeon written plainly in f64, as published: IAD, damping, dense inverses, explicit Kronecker products.

use std::rc::Rc;

use secateur::gpu::{Gpu, GpuError};
use secateur::prune::surgeon::{Curvature, KroneckerFactor};
use secateur::prune::{Damping, DampingRule};
use secateur::tensor::{PanelMatrix, Tensor};

use crate::common::{Data, eliminate, f64s, tensor};
use crate::laws::problem::Layer;

/// Damping of the outputs and of the inputs, fractions.
const DAMPING: [f64; 2] = [0.1, 0.01];
/// Tokens behind the sums.
pub(crate) const TOKENS: usize = 400;

/// Outputs and inputs: one weight, the explicit size, around a block of 64, odd ones, long ones.
pub(crate) const SHAPES: [[usize; 2]; 7] = [[1, 1], [6, 8], [7, 13], [1, 65], [64, 3], [33, 70], [17, 131]];

/// Raw sums of both sides and a weight.
pub(crate) struct Case {
    pub(crate) shape: [usize; 2],
    /// Of outputs and inputs: of each by the mean where it is odd, else by each channel's own energy.
    pub(crate) damping: [Damping; 2],
    /// `Σ g gᵀ` and `Σ x xᵀ`.
    pub(crate) sums: [Vec<f32>; 2],
    pub(crate) weight: Vec<f32>,
}

/// `Σ x xᵀ` of tokens `[.., n]`, symmetric to the bit.
pub(crate) fn gram(tokens: &[f32], n: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; n * n];
    for x in tokens.chunks(n) {
        for i in 0..n {
            for j in 0..n {
                sums[i * n + j] += f64::from(x[i]) * f64::from(x[j]);
            }
        }
    }
    sums.iter().map(|v| *v as f32).collect()
}

impl Case {
    /// Correlated channels with loud ones among them; gradients are small, as they are.
    pub(crate) fn new(seed: u64, [m, n]: [usize; 2]) -> Self {
        let tokens = |seed, n| Layer::new(seed, 1, n, TOKENS, 0.0).dense;
        let small: Vec<f32> = tokens(seed, m).iter().map(|g| g * 1e-4).collect();
        let damping = |i: usize| Damping {
            rule: match [m, n][i] % 2 {
                0 => DampingRule::Own,
                _ => DampingRule::Mean,
            },
            fraction: DAMPING[i],
        };
        Case {
            shape: [m, n],
            damping: [damping(0), damping(1)],
            sums: [gram(&small, m), gram(&tokens(seed + 1, n), n)],
            weight: Data::new(seed + 2).normal(m * n),
        }
    }

    /// With both sides damped by the mean, as published.
    pub(crate) fn by_the_mean(mut self) -> Self {
        self.damping = DAMPING.map(|fraction| Damping {
            rule: DampingRule::Mean,
            fraction,
        });
        self
    }

    /// On a device.
    pub(crate) fn curvature(&self, gpu: &Gpu) -> Curvature {
        let side = |i: usize| {
            let sum = panels(gpu, self.shape[i], &self.sums[i]);
            Rc::new(KroneckerFactor::prepare(gpu, sum, TOKENS, self.damping[i], "test").unwrap())
        };
        Curvature {
            outputs: side(0),
            inputs: side(1),
        }
    }

    pub(crate) fn upload(&self, gpu: &Gpu) -> Tensor {
        tensor(gpu, self.shape[0], self.shape[1], &self.weight)
    }

    /// As published.
    pub(crate) fn plain(&self) -> Plain {
        let per_token = |sums: &[f32]| -> Vec<f64> { f64s(sums).iter().map(|v| v / TOKENS as f64).collect() };
        let [g, a] = [per_token(&self.sums[0]), per_token(&self.sums[1])];
        let norm = |f: &[f64]| f.iter().map(|v| v * v).sum::<f64>().sqrt();
        let iad = (norm(&a) / norm(&g)).sqrt();
        let g: Vec<f64> = g.iter().map(|v| v * iad).collect();
        let a: Vec<f64> = a.iter().map(|v| v / iad).collect();
        let [m, n] = self.shape;
        Plain {
            shape: self.shape,
            weight: f64s(&self.weight),
            damped: [damp(&g, m, self.damping[0]), damp(&a, n, self.damping[1])],
            factors: [g, a],
        }
    }
}

/// A square matrix on a device.
pub(crate) fn panels(gpu: &Gpu, n: usize, values: &[f32]) -> PanelMatrix {
    PanelMatrix::upload(gpu, "sums", n, |rows| {
        Ok::<_, GpuError>(values[rows.start * n..rows.end * n].to_vec())
    })
    .unwrap()
}

/// With a fraction of the mean energy of the live channels, or of each one's own, on the diagonal.
fn damp(f: &[f64], n: usize, Damping { rule, fraction }: Damping) -> Vec<f64> {
    let live: Vec<f64> = (0..n).map(|i| f[i * n + i]).filter(|v| *v > 0.0).collect();
    let mean = live.iter().sum::<f64>() / live.len() as f64;
    let energy = |own: f64| match rule {
        DampingRule::Own => own,
        DampingRule::Mean => mean,
    };
    let add = |i: usize, v: f64| if i / n == i % n { fraction * energy(v) } else { 0.0 };
    f.iter().enumerate().map(|(i, v)| v + add(i, *v)).collect()
}

pub(crate) struct Plain {
    pub(crate) shape: [usize; 2],
    pub(crate) weight: Vec<f64>,
    /// G and A after IAD.
    pub(crate) factors: [Vec<f64>; 2],
    pub(crate) damped: [Vec<f64>; 2],
}

pub(crate) fn inverse(n: usize, f: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; n * n];
    for j in 0..n {
        let unit = (0..n).map(|i| f64::from(u8::from(i == j))).collect();
        let rows = f.chunks(n).map(<[f64]>::to_vec).collect();
        for (i, v) in eliminate(rows, unit).into_iter().enumerate() {
            out[i * n + j] = v;
        }
    }
    out
}

/// Condition, from above, of a matrix scaled to a unit diagonal.
fn condition(n: usize, f: &[f64]) -> f64 {
    let unit: Vec<f64> = (0..n * n)
        .map(|i| f[i] / (f[i / n * (n + 1)] * f[i % n * (n + 1)]).sqrt())
        .collect();
    let norm = |f: &[f64]| f.iter().map(|v| v * v).sum::<f64>().sqrt();
    norm(&unit) * norm(&inverse(n, &unit))
}

impl Plain {
    pub(crate) fn inverses(&self) -> [Vec<f64>; 2] {
        [0, 1].map(|i| inverse(self.shape[i], &self.damped[i]))
    }

    /// What rounding may do to a result as a whole: a few units of f32, and of the condition (a bound for the worst
    /// direction, by Frobenius norms that count all directions) the part that the mean over all elements sees.
    pub(crate) fn rounding(&self) -> f64 {
        let conditions = [0, 1].map(|i| condition(self.shape[i], &self.damped[i]));
        (8.0 + conditions[0].max(conditions[1]) / 16.0) * f64::from(f32::EPSILON)
    }

    /// `1/2 ⟨D, G~ D A~⟩`.
    pub(crate) fn objective(&self, difference: &[f64]) -> f64 {
        let slope = self.gradient(difference);
        0.5 * difference.iter().zip(slope).map(|(d, s)| d * s).sum::<f64>()
    }

    /// `G~ D A~`.
    pub(crate) fn gradient(&self, difference: &[f64]) -> Vec<f64> {
        let [m, n] = self.shape;
        let [g, a] = &self.damped;
        let half = |i: usize| (0..n).map(|k| difference[i / n * n + k] * a[k * n + i % n]).sum();
        let half: Vec<f64> = (0..m * n).map(half).collect();
        let full = |i: usize| (0..m).map(|k| g[i / n * m + k] * half[k * n + i % n]).sum();
        (0..m * n).map(full).collect()
    }

    /// The change from the weight to `to`.
    pub(crate) fn change(&self, to: &[f64]) -> Vec<f64> {
        to.iter().zip(&self.weight).map(|(v, w)| v - w).collect()
    }

    /// The weight that is zero off the support and nearest in the metric, by the explicit Kronecker product.
    pub(crate) fn minimiser(&self, support: &[f32]) -> Vec<f64> {
        let [m, n] = self.shape;
        let [g, a] = &self.damped;
        let kron = |i: usize, j: usize| g[i / n * m + j / n] * a[i % n * n + j % n];
        let which = |kept: bool| -> Vec<usize> { (0..m * n).filter(|i| (support[*i] != 0.0) == kept).collect() };
        let (kept, lost) = (which(true), which(false));
        let matrix = kept.iter().map(|i| kept.iter().map(|j| kron(*i, *j)).collect());
        let right = (kept.iter()).map(|i| lost.iter().map(|j| kron(*i, *j) * self.weight[*j]).sum());
        let mut out = vec![0.0; m * n];
        for (i, d) in kept.iter().zip(eliminate(matrix.collect(), right.collect())) {
            out[*i] = self.weight[*i] + d;
        }
        out
    }

    /// The published update, chunk after chunk, `sweeps` times; then zero on all chunks.
    pub(crate) fn updated(&self, chunks: &[Vec<usize>], sweeps: usize) -> Vec<f64> {
        let [m, n] = self.shape;
        let [gi, ai] = self.inverses();
        let kron = |i: usize, j: usize| gi[i / n * m + j / n] * ai[i % n * n + j % n];
        let mut w = self.weight.clone();
        for q in (0..sweeps).flat_map(|_| chunks) {
            let matrix = q.iter().map(|i| q.iter().map(|j| kron(*i, *j)).collect());
            let lambda = eliminate(matrix.collect(), q.iter().map(|i| w[*i]).collect());
            for (i, w) in w.iter_mut().enumerate() {
                *w -= q.iter().zip(&lambda).map(|(j, l)| kron(i, *j) * l).sum::<f64>();
            }
        }
        chunks.iter().flatten().for_each(|i| w[*i] = 0.0);
        w
    }
}
