//! Half-steps to the nearest Kronecker product against plain least squares in f64, and what they are for.

use secateur::gpu::{Gpu, Recording};
use secateur::linalg;
use secateur::prune::surgeon::{add_weighted, input_scales, output_scale};
use secateur::tensor::PanelMatrix;

use super::surgeon::{gram, panels};
use crate::common::{Data, assert_close, devices, f64s, tensor};

/// Tokens in two batches.
const TOKENS: usize = 60;

/// Inputs that two linears share, and the gradients of both, which hang on the inputs: K-FAC's assumption is wrong.
struct Group {
    inputs: usize,
    outputs: [usize; 2],
    x: Vec<f32>,
    g: [Vec<f32>; 2],
}

impl Group {
    fn new(inputs: usize, outputs: [usize; 2]) -> Self {
        let mut data = Data::new(40);
        let x = data.normal(TOKENS * inputs);
        let g = outputs.map(|m| {
            let noise = data.normal(TOKENS * m);
            let loud = |t: usize| 0.2 + x[t * inputs].abs() * 3.0;
            (0..TOKENS * m).map(|i| 1e-4 * noise[i] * loud(i / m)).collect()
        });
        Group { inputs, outputs, x, g }
    }

    /// K-FAC's factors: the mean outer products.
    fn begin(&self) -> [Vec<f64>; 3] {
        let mean =
            |v: &[f32], n: usize| -> Vec<f64> { gram(v, n).iter().map(|s| f64::from(*s) / TOKENS as f64).collect() };
        [
            mean(&self.x, self.inputs),
            mean(&self.g[0], self.outputs[0]),
            mean(&self.g[1], self.outputs[1]),
        ]
    }

    /// `mean(Σ_l (y_lᵀ F_l y_l) z zᵀ) / Σ_l ‖F_l‖²`, plainly.
    fn renewed(z: &[f32], n: usize, weighing: &[(&[f32], &[f64], usize)]) -> Vec<f64> {
        let squares: f64 = weighing.iter().flat_map(|(_, f, _)| f.iter()).map(|v| v * v).sum();
        let mut out = vec![0.0; n * n];
        for t in 0..TOKENS {
            let mut weight = 0.0;
            for (y, f, p) in weighing {
                let y = f64s(&y[t * p..(t + 1) * p]);
                for i in 0..*p {
                    for j in 0..*p {
                        weight += y[i] * f[i * p + j] * y[j];
                    }
                }
            }
            let z = f64s(&z[t * n..(t + 1) * n]);
            for (at, sum) in out.iter_mut().enumerate() {
                *sum += weight * z[at / n] * z[at % n] / (TOKENS as f64 * squares);
            }
        }
        out
    }

    /// `Σ_l ‖mean((g gᵀ) ⊗ (x xᵀ)) − G_l ⊗ A‖²`, with the products written out.
    fn distance(&self, [a, g0, g1]: [&[f64]; 3]) -> f64 {
        let n = self.inputs;
        let mut sum = 0.0;
        for ((tokens, m), g) in self.g.iter().zip(self.outputs).zip([g0, g1]) {
            for at in 0..m * m * n * n {
                let (i, j, k, l) = (at / (m * n * n), at / (n * n) % m, at / n % n, at % n);
                let term = |t: usize| {
                    let [gi, gj] = [tokens[t * m + i], tokens[t * m + j]].map(f64::from);
                    let [xk, xl] = [self.x[t * n + k], self.x[t * n + l]].map(f64::from);
                    gi * gj * xk * xl
                };
                let mean = (0..TOKENS).map(term).sum::<f64>() / TOKENS as f64;
                sum += (mean - g[i * m + j] * a[k * n + l]).powi(2);
            }
        }
        sum
    }

    /// Sums on a device, in two batches.
    fn add(gpu: &Gpu, pairs: &[Pair<'_>], n: usize) -> Vec<f32> {
        let mut recording = Recording::new();
        let sum = PanelMatrix::zeros(gpu, &mut recording, "sum", n).unwrap();
        for batch in 0..2 {
            for Pair {
                y,
                z,
                widths: [p, n],
                factor,
                scale,
            } in pairs
            {
                let half = |v: &[f32], n: usize| v[batch * TOKENS / 2 * n..][..TOKENS / 2 * n].to_vec();
                let y = tensor(gpu, TOKENS / 2, *p, &half(y, *p));
                let z = tensor(gpu, TOKENS / 2, *n, &half(z, *n));
                add_weighted(&mut recording, gpu, [&y, &z], (factor, *scale), &sum).unwrap();
            }
        }
        linalg::finish(&mut recording, &sum);
        gpu.submit(recording).unwrap();
        let rows = sum.panels().map(|(_, panel)| panel.fetch(gpu).unwrap());
        rows.collect::<Vec<_>>().concat()
    }
}

/// Rows that weigh, rows that are summed, and the factor between the former.
struct Pair<'p> {
    y: &'p [f32],
    z: &'p [f32],
    widths: [usize; 2],
    factor: &'p PanelMatrix,
    scale: f32,
}

/// Raw sums of a factor.
fn raw(factor: &[f64]) -> Vec<f32> {
    factor.iter().map(|v| (v * TOKENS as f64) as f32).collect()
}

fn per_token(sum: &[f32]) -> Vec<f32> {
    sum.iter().map(|v| v / TOKENS as f32).collect()
}

#[test]
fn half_steps_are_the_least_squares_solutions() {
    for gpu in devices() {
        for (inputs, outputs) in [(1, [1, 1]), (5, [3, 4]), (70, [33, 9])] {
            let group = Group::new(inputs, outputs);
            let [a, g0, g1] = group.begin();
            let what = |name: &str| format!("{} {name} of {inputs} and {outputs:?}", gpu.name());
            let of_a = panels(gpu, inputs, &raw(&a));
            let scale = output_scale(gpu, &of_a, TOKENS).unwrap();
            for (g, m) in group.g.iter().zip(outputs) {
                let pair = Pair {
                    y: &group.x,
                    z: g,
                    widths: [inputs, m],
                    factor: &of_a,
                    scale,
                };
                let found = Group::add(gpu, &[pair], m);
                let wanted = Group::renewed(g, m, &[(&group.x, &a, inputs)]);
                assert_close(&what("outputs"), &per_token(&found), &wanted, 1e-5);
            }
            let sums = [panels(gpu, outputs[0], &raw(&g0)), panels(gpu, outputs[1], &raw(&g1))];
            let scales = input_scales(gpu, &[(&sums[0], TOKENS), (&sums[1], TOKENS)]).unwrap();
            let pair = |l: usize| Pair {
                y: &group.g[l],
                z: &group.x,
                widths: [outputs[l], inputs],
                factor: &sums[l],
                scale: scales[l],
            };
            let found = Group::add(gpu, &[pair(0), pair(1)], inputs);
            let weighing = [(&group.g[0][..], &g0[..], outputs[0]), (&group.g[1], &g1, outputs[1])];
            let wanted = Group::renewed(&group.x, inputs, &weighing);
            assert_close(&what("inputs"), &per_token(&found), &wanted, 1e-5);
        }
    }
}

/// The plain formulas that the device is held against do what they are for.
#[test]
fn every_half_step_comes_nearer() {
    let group = Group::new(5, [3, 4]);
    let [mut a, mut g0, mut g1] = group.begin();
    let mut distance = group.distance([&a, &g0, &g1]);
    let begun = distance;
    for half_step in 0..6 {
        if half_step % 2 == 0 {
            g0 = Group::renewed(&group.g[0], 3, &[(&group.x, &a, 5)]);
            g1 = Group::renewed(&group.g[1], 4, &[(&group.x, &a, 5)]);
        } else {
            a = Group::renewed(&group.x, 5, &[(&group.g[0], &g0, 3), (&group.g[1], &g1, 4)]);
        }
        let next = group.distance([&a, &g0, &g1]);
        assert!(next <= distance * (1.0 + 1e-12), "{half_step}: {distance} to {next}");
        distance = next;
    }
    assert!(distance < 0.9 * begun, "{begun} to {distance}");
}

#[test]
fn no_energy_weighs_nothing() {
    for gpu in devices() {
        let zero = panels(gpu, 3, &[0.0; 9]);
        assert_eq!(output_scale(gpu, &zero, 10).unwrap(), 0.0);
        assert_eq!(input_scales(gpu, &[(&zero, 10)]).unwrap(), [0.0]);
    }
}
