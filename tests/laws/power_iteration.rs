use secateur::gpu::Recording;
use secateur::linalg::largest_eigenvalue;
use secateur::tensor::PanelMatrix;

use super::problem::Layer;
use crate::common::{devices, open};

#[test]
fn largest_eigenvalue_is_bounded_from_both_sides() {
    let small = open("cpu", Some(4096));
    for gpu in devices().iter().chain([&small]) {
        let layer = Layer::new(8, 4, 70, 400, 0.0);
        let inputs = layer.inputs(gpu);
        let oracle = layer.oracle();
        let mut v = vec![1.0; oracle.n];
        let mut wanted = 0.0;
        for _ in 0..3000 {
            let next: Vec<f64> = oracle
                .gram
                .chunks(oracle.n)
                .map(|row| row.iter().zip(&v).map(|(a, b)| a * b).sum())
                .collect();
            wanted = next.iter().map(|x| x * x).sum::<f64>().sqrt();
            v = next.iter().map(|x| x / wanted).collect();
        }
        let found = largest_eigenvalue(gpu, inputs.gram(), 48).unwrap();
        assert!(found.rayleigh <= wanted * 1.00001, "{}: {found:?} {wanted}", gpu.name());
        assert!(found.upper() >= wanted * 0.9999, "{}: {found:?} {wanted}", gpu.name());
        assert!(found.upper() <= wanted * 1.1, "{}: {found:?} {wanted}", gpu.name());
    }
}

#[test]
fn zero_matrix_has_eigenvalue_zero() {
    for gpu in devices() {
        let mut recording = Recording::new();
        let matrix = PanelMatrix::zeros(gpu, &mut recording, "zeros", 9).unwrap();
        gpu.submit(recording).unwrap();
        assert_eq!(
            largest_eigenvalue(gpu, &matrix, 5).unwrap().upper(),
            0.0,
            "{}",
            gpu.name()
        );
    }
}
