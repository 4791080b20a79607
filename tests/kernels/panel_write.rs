use secateur::ops::factor::{panel_read, panel_write};
use secateur::reference::factor::panel_write as twin;

use super::panel_read::matrix;
use crate::common::{Data, devices, open, play, poisoned, tensor};

#[test]
fn equals_the_twin_and_can_be_read_back() {
    let small = open("cpu", Some(16 * 1024));
    for gpu in devices().iter().chain([&small]) {
        for (n, row, count) in [(1, 0, 1), (17, 3, 5), (131, 64, 64), (131, 128, 3)] {
            let (matrix, mut wanted) = matrix(gpu, n);
            // Symmetric on the diagonal block, as rows of a symmetric matrix are.
            let noise = Data::new(45).uniform(count * n);
            let value = |r: usize, c: usize| {
                let inside = c >= row && c < row + count;
                let (low, high) = if inside {
                    (r.min(c - row), (r + row).max(c))
                } else {
                    (r, c)
                };
                noise[low * n + high]
            };
            let rows: Vec<f32> = (0..count * n).map(|i| value(i / n, i % n)).collect();
            let (source, back) = (tensor(gpu, count, n, &rows), poisoned(gpu, count, n));
            play(gpu, |recording| {
                panel_write(recording, &source, row, &matrix);
                panel_read(recording, &matrix, row, 0, &back);
            });
            twin::panel_write(n, row, 0, &rows, &mut wanted);
            let found: Vec<f32> = matrix.panels().flat_map(|(_, p)| p.fetch(gpu).unwrap()).collect();
            assert_eq!(found, wanted, "{} {n} {row}", gpu.name());
            assert_eq!(back.fetch(gpu).unwrap(), rows, "{} {n} {row}", gpu.name());
        }
    }
}
