use secateur::gpu::{Gpu, Recording};
use secateur::ops::factor::panel_read;
use secateur::reference::factor::panel_read as twin;
use secateur::tensor::PanelMatrix;

use crate::common::{Data, devices, open, play, poisoned};

/// A matrix of varied numbers, and the same on the host.
pub(super) fn matrix(gpu: &Gpu, n: usize) -> (PanelMatrix, Vec<f32>) {
    let mut recording = Recording::new();
    let matrix = PanelMatrix::zeros(gpu, &mut recording, "test", n).unwrap();
    let values = Data::new(44).uniform(n * n);
    for (first, panel) in matrix.panels() {
        let part = &values[first * n..][..panel.len()];
        let part = secateur::tensor::Tensor::upload(gpu, "part", panel.rows(), n, part).unwrap();
        recording.copy(&part.slice(), &panel.slice());
    }
    gpu.submit(recording).unwrap();
    (matrix, values)
}

#[test]
fn rows_of_the_symmetric_matrix() {
    let small = open("cpu", Some(16 * 1024));
    for gpu in devices().iter().chain([&small]) {
        for (n, row, count, from) in [(1, 0, 1, 0), (17, 3, 5, 0), (131, 64, 64, 0), (131, 128, 3, 128)] {
            let (matrix, values) = matrix(gpu, n);
            let rows = poisoned(gpu, count, n);
            play(gpu, |recording| panel_read(recording, &matrix, row, from, &rows));
            let mut wanted = vec![f32::NAN; count * n];
            twin::panel_read(n, row, from, 0, &values, &mut wanted);
            assert_eq!(rows.fetch(gpu).unwrap(), wanted, "{} {n} {row}", gpu.name());
            let symmetric = |r: usize, c: usize| values[(row + r).min(c) * n + (row + r).max(c)];
            let plain: Vec<f32> = (0..count * n)
                .map(|i| if i % n < from { 0.0 } else { symmetric(i / n, i % n) })
                .collect();
            assert_eq!(wanted, plain);
        }
    }
}
