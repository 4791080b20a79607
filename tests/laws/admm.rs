//! ADMM and ALPS against plain f64 versions of the same algorithms.

use secateur::prune::{Admm, Alps, LayerProblem, Method, Pattern, Scope, Wanda, refit};

use super::problem::{Layer, Oracle};
use crate::common::{devices, eliminate, f64s};

/// Rows of V on the pattern; ties do not occur in real-valued data.
fn project(pattern: Pattern, cols: usize, v: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; v.len()];
    let mut keep = |range: std::ops::Range<usize>, count: usize| {
        let mut order: Vec<usize> = range.collect();
        order.sort_by(|a, b| v[*b].abs().total_cmp(&v[*a].abs()));
        for i in &order[..count] {
            out[*i] = v[*i];
        }
    };
    match pattern {
        Pattern::NM { n, m } => (0..v.len()).step_by(m).for_each(|at| keep(at..at + m, n)),
        Pattern::Unstructured {
            scope: Scope::Matrix, ..
        } => {
            keep(0..v.len(), pattern.kept(v.len() / cols, cols));
        }
        Pattern::Unstructured { scope: Scope::Row, .. } => {
            (0..v.len())
                .step_by(cols)
                .for_each(|at| keep(at..at + cols, pattern.kept(1, cols)));
        }
    }
    out
}

/// The problem's matrices, and products with an inverse.
struct Plain {
    oracle: Oracle,
    pattern: Pattern,
    /// Scaled weight.
    weight: Vec<f64>,
}

impl Plain {
    /// `(H + rho I)⁻¹` by elimination.
    fn inverse(&self, rho: f64) -> Vec<f64> {
        let n = self.oracle.n;
        let matrix: Vec<Vec<f64>> = (0..n)
            .map(|i| {
                (0..n)
                    .map(|j| self.oracle.gram[i * n + j] + if i == j { rho } else { 0.0 })
                    .collect()
            })
            .collect();
        let column = |j: usize| eliminate(matrix.clone(), (0..n).map(|i| f64::from(u8::from(i == j))).collect());
        (0..n).flat_map(column).collect()
    }

    /// One iteration from (D, U); returns the new pair.
    fn iterate(&self, rho: f64, inverse: &[f64], d: &[f64], u: &[f64]) -> [Vec<f64>; 2] {
        let n = self.oracle.n;
        let mut z = vec![0.0; d.len()];
        for (r, row) in z.chunks_mut(n).enumerate() {
            for k in 0..n {
                let i = r * n + k;
                let right = self.oracle.target[i] - u[i] + rho * d[i];
                for (j, value) in row.iter_mut().enumerate() {
                    *value += right * inverse[k * n + j];
                }
            }
        }
        let z: Vec<f64> = z.iter().zip(u).map(|(v, u)| v + u / rho).collect();
        let d = project(self.pattern, n, &z);
        let u = z.iter().zip(&d).map(|(z, d)| rho * (z - d)).collect();
        [d, u]
    }

    fn admm(&self) -> Vec<f64> {
        let mut rho = 0.12;
        let kept = project(self.pattern, self.oracle.n, &self.weight);
        // The dual holds what the pattern took away.
        let dual = self.weight.iter().zip(&kept).map(|(w, d)| rho * (w - d)).collect();
        let mut state = [kept, dual];
        for _ in 0..8 {
            let inverse = self.inverse(rho);
            for _ in 0..4 {
                state = self.iterate(rho, &inverse, &state[0], &state[1]);
            }
            rho *= 1.3;
        }
        state[0].clone()
    }

    fn alps(&self) -> Vec<f64> {
        let mut state = [
            project(self.pattern, self.oracle.n, &self.weight),
            vec![0.0; self.weight.len()],
        ];
        let size = state[0].iter().filter(|v| **v != 0.0).count() as f64;
        let (mut rho, mut taken) = (0.1, 0);
        let mut older = state[0].clone();
        loop {
            let inverse = self.inverse(rho);
            for _ in 0..3 {
                state = self.iterate(rho, &inverse, &state[0], &state[1]);
            }
            taken += 3;
            let moved = older
                .iter()
                .zip(&state[0])
                .filter(|(a, b)| (**a != 0.0) != (**b != 0.0))
                .count() as f64;
            older = state[0].clone();
            if moved == 0.0 || (taken >= 30 && moved / size < 3e-4) || taken == 300 {
                return state[0].clone();
            }
            rho *= if moved >= 0.1 * size {
                1.3
            } else if moved >= 0.005 * size {
                1.2
            } else {
                1.1
            };
        }
    }

    /// Relative error of the exact solution on the support of v.
    fn refitted(&self, layer: &Layer, v: &[f64]) -> f64 {
        let support: Vec<f32> = v.iter().map(|v| f32::from(*v != 0.0)).collect();
        layer.error(&self.oracle.unscale(&self.oracle.solve_on(&support)))
    }
}

#[test]
fn errors_are_those_of_plain_f64_versions() {
    let patterns = [
        Pattern::unstructured(0.5, Scope::Matrix).unwrap(),
        Pattern::unstructured(0.7, Scope::Row).unwrap(),
        Pattern::NM { n: 2, m: 4 },
    ];
    let layer = Layer::new(21, 24, 72, 900, 0.1);
    for pattern in patterns {
        let oracle = layer.oracle();
        let weight = f64s(&layer.weight);
        let scaled = weight
            .iter()
            .enumerate()
            .map(|(i, w)| w / oracle.scale[i % 72])
            .collect();
        let plain = Plain {
            oracle,
            pattern,
            weight: scaled,
        };
        let wanted = [plain.admm(), plain.alps()].map(|v| plain.refitted(&layer, &v));
        for gpu in devices() {
            let inputs = layer.inputs(gpu);
            let problem = LayerProblem::new(gpu, &inputs, [24, 72], &layer.weight, pattern).unwrap();
            let methods: [(&str, Box<dyn Method>); 2] = [("ADMM", Box::new(Admm::default())), ("ALPS", Box::new(Alps))];
            let wanda = Wanda.solve(gpu, &problem).unwrap().error;
            for ((name, method), wanted) in methods.iter().zip(wanted) {
                let solution = method.solve(gpu, &problem).unwrap();
                let found = refit(gpu, &problem, solution, 30).unwrap().error;
                let what = format!("{} {name} {pattern}: {found} instead of {wanted}", gpu.name());
                // The support may differ in a tie or two where f32 rounds otherwise.
                assert!((found / wanted - 1.0).abs() < 0.02, "{what}");
                assert!(found < 0.8 * wanda, "{what}, Wanda {wanda}");
            }
        }
    }
}
