//! Low-rank corrections against plain loops in f64.

use secateur::gpu::Gpu;
use secateur::prune::{AdamStep, LowRank};

use crate::common::{Data, assert_close, devices, f64s, open, tensor};

/// Outputs, inputs and rank: one of everything, a rank above both, several windows of rows with a remainder.
const SHAPES: [([usize; 2], usize); 5] = [([1, 1], 1), ([5, 3], 7), ([64, 40], 8), ([65, 130], 3), ([200, 37], 8)];

/// A weight with zeros in it, or without.
fn weight([rows, cols]: [usize; 2], zeros: bool, data: &mut Data) -> Vec<f32> {
    let values = data.normal(rows * cols).into_iter().enumerate();
    values
        .map(|(i, w)| if zeros && i % 3 == 1 { 0.0 } else { w + 3.0 })
        .collect()
}

/// `a b` of `[rows, inner]` and `[inner, cols]`.
fn product(a: &[f64], b: &[f64], [rows, inner, cols]: [usize; 3]) -> Vec<f64> {
    let element = |i: usize, j: usize| (0..inner).map(|k| a[i * inner + k] * b[k * cols + j]).sum();
    (0..rows * cols).map(|at| element(at / cols, at % cols)).collect()
}

fn transposed(a: &[f64], [rows, cols]: [usize; 2]) -> Vec<f64> {
    (0..rows * cols).map(|at| a[at % rows * cols + at / rows]).collect()
}

fn masked(weight: &[f32], values: &[f64]) -> Vec<f64> {
    let pairs = weight.iter().zip(values);
    pairs.map(|(w, v)| if *w == 0.0 { 0.0 } else { *v }).collect()
}

/// The textbook's Adam.
struct Adam {
    values: Vec<f64>,
    mean: Vec<f64>,
    square: Vec<f64>,
}

impl Adam {
    fn new(values: Vec<f64>) -> Self {
        let zeros = vec![0.0; values.len()];
        Adam {
            values,
            mean: zeros.clone(),
            square: zeros,
        }
    }

    fn step(&mut self, gradient: &[f64], number: i32, rate: f64) {
        for (i, g) in gradient.iter().enumerate() {
            self.mean[i] = 0.9 * self.mean[i] + 0.1 * g;
            self.square[i] = 0.999 * self.square[i] + 0.001 * g * g;
            let mean = self.mean[i] / (1.0 - 0.9_f64.powi(number));
            let square = self.square[i] / (1.0 - 0.999_f64.powi(number));
            self.values[i] -= rate * mean / (square.sqrt() + 1e-8);
        }
    }
}

/// Three steps with gradients that do not hang on the weight, then the corrected weight and the gradients.
fn follow(gpu: &Gpu, (shape, rank): ([usize; 2], usize), zeros: bool) {
    let [rows, cols] = shape;
    let mut data = Data::new(7);
    let weight = weight(shape, zeros, &mut data);
    let mut correction = LowRank::new(shape, rank, 3);
    let [a, b] = correction.factors().map(f64s);
    assert!(b.iter().all(|v| *v == 0.0) && a.iter().any(|v| *v != 0.0));
    let (mut a, mut b) = (Adam::new(a), Adam::new(b));
    let what = |name: &str| format!("{} {name} {rows}x{cols} rank {rank} zeros {zeros}", gpu.name());
    for number in 1..=3 {
        let gradient = data.normal(rows * cols);
        let sum = tensor(gpu, rows, cols, &gradient);
        let found = correction.gradient(gpu, sum, &weight).unwrap();
        let gradient = masked(&weight, &f64s(&gradient));
        let to_a = product(&transposed(&b.values, [rows, rank]), &gradient, [rank, rows, cols]);
        let to_b = product(&gradient, &transposed(&a.values, [rank, cols]), [rows, cols, rank]);
        // Sums of at most 200 terms of order one.
        assert_close(&what("gradient of A"), &found[0], &to_a, 1e-4);
        assert_close(&what("gradient of B"), &found[1], &to_b, 1e-4);
        let rate = 0.1 / number as f64;
        // Gradients as found: near zero their sign is all that Adam sees.
        a.step(&f64s(&found[0]), number, rate);
        b.step(&f64s(&found[1]), number, rate);
        let number = number as usize;
        correction.step(&found, AdamStep { number, rate });
        let factors = correction.factors();
        assert_close(&what("A"), factors[0], &a.values, 1e-5);
        assert_close(&what("B"), factors[1], &b.values, 1e-5);
    }
    let corrected = correction.corrected(gpu, &weight).unwrap().fetch(gpu).unwrap();
    let change = masked(&weight, &product(&b.values, &a.values, [rows, rank, cols]));
    assert!(change.iter().any(|v| v.abs() > 1e-4), "{}: nothing changes", what(""));
    let wanted: Vec<f64> = weight.iter().zip(change).map(|(w, c)| f64::from(*w) + c).collect();
    assert_close(&what("corrected"), &corrected, &wanted, 1e-5);
    let same = corrected.iter().zip(&weight).filter(|(_, w)| **w == 0.0);
    assert!(same.into_iter().all(|(c, _)| *c == 0.0), "{}", what("zeros stay"));
}

#[test]
fn corrections_gradients_and_steps() {
    for gpu in devices() {
        for case in SHAPES {
            follow(gpu, case, true);
            follow(gpu, case, false);
        }
    }
}

/// A binding that holds 64 rows and a bit.
#[test]
fn in_windows_of_rows() {
    for gpu in devices() {
        let gpu = open(if gpu.is_host() { "cpu" } else { gpu.name() }, Some(65 * 4 * 130));
        follow(&gpu, ([200, 130], 3), true);
    }
}
