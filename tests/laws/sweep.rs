//! Inverse and inverse factor against f64, on whole matrices and on panels.

use secateur::gpu::{Gpu, Recording};
use secateur::linalg::{Pivots, inverse, inverse_factor};
use secateur::tensor::PanelMatrix;

use super::problem::Layer;
use crate::common::{assert_close, devices, f64s, open};

type Factorise = fn(&mut Recording, &Gpu, [&PanelMatrix; 2], f32, &Pivots) -> Result<(), secateur::gpu::GpuError>;

/// The result, and the row of the first failed pivot.
fn run(gpu: &Gpu, what: Factorise, a: &PanelMatrix, shift: f32) -> (Vec<f64>, Option<usize>) {
    let mut recording = Recording::new();
    let out = PanelMatrix::zeros(gpu, &mut recording, "result", a.n()).unwrap();
    let pivots = Pivots::new(gpu, &mut recording).unwrap();
    what(&mut recording, gpu, [a, &out], shift, &pivots).unwrap();
    let id = pivots.read(&mut recording);
    let done = gpu.submit(recording).unwrap();
    let failed = Pivots::failed(&done, id).unwrap();
    let values = out.panels().flat_map(|(_, p)| f64s(&p.fetch(gpu).unwrap())).collect();
    (values, failed)
}

/// `a b` for square matrices.
fn product(n: usize, a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; n * n];
    for i in 0..n {
        for k in 0..n {
            for j in 0..n {
                out[i * n + j] += a[i * n + k] * b[k * n + j];
            }
        }
    }
    out
}

fn identity(n: usize) -> Vec<f64> {
    (0..n * n).map(|i| if i / n == i % n { 1.0 } else { 0.0 }).collect()
}

#[test]
fn inverse_and_its_factor() {
    let small = open("cpu", Some(12_000));
    for gpu in devices().iter().chain([&small]) {
        for (n, shift) in [(1, 0.1), (40, 0.0), (64, 0.1), (65, 0.3), (150, 0.1)] {
            let layer = Layer::new(30, 2, n, 4 * n + 8, 0.0);
            let inputs = layer.inputs(gpu);
            let mut a = layer.oracle().gram;
            for i in 0..n {
                a[i * n + i] += f64::from(shift);
            }
            let what = format!("{} n {n} shift {shift}", gpu.name());
            let (found, failed) = run(gpu, inverse, inputs.gram(), shift);
            assert_eq!(failed, None, "{what}");
            // The smallest eigenvalue is at least the damping and the shift, the largest at most n.
            let condition = n as f64 / (f64::from(shift) + 0.0099);
            let tolerance = 16.0 * condition * f64::from(f32::EPSILON);
            let unit: Vec<f32> = product(n, &a, &found).iter().map(|v| *v as f32).collect();
            assert_close(&what, &unit, &identity(n), tolerance);
            let (u, failed) = run(gpu, inverse_factor, inputs.gram(), shift);
            assert_eq!(failed, None, "{what}");
            let below = (0..n * n)
                .filter(|i| i % n < i / n)
                .map(|i| u[i].abs())
                .fold(0.0, f64::max);
            assert!(below <= 1e-4 * u[0].abs(), "{what}: {below} below the diagonal");
            let transposed: Vec<f64> = (0..n * n).map(|i| u[i % n * n + i / n]).collect();
            let again: Vec<f32> = product(n, &transposed, &u).iter().map(|v| *v as f32).collect();
            assert_close(&format!("{what} factor"), &again, &found, tolerance);
        }
    }
}

#[test]
fn a_matrix_that_is_not_positive_is_reported() {
    for gpu in devices() {
        let layer = Layer::new(31, 2, 70, 300, 0.0);
        let inputs = layer.inputs(gpu);
        for what in [inverse as Factorise, inverse_factor] {
            assert_eq!(run(gpu, what, inputs.gram(), 0.0).1, None, "{}", gpu.name());
            // A diagonal of 0.5 makes it indefinite.
            assert!(run(gpu, what, inputs.gram(), -0.5).1.is_some(), "{}", gpu.name());
        }
    }
}
