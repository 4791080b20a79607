use secateur::gpu::Recording;
use secateur::ops::dense;
use secateur::reference::dense::permute::permute;
use secateur::tensor::PanelMatrix;

use super::panel_read::matrix;
use crate::common::{Data, devices, open, play, poisoned};

/// Numbers below `n` in a random order.
fn shuffled(data: &mut Data, n: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    let keys = data.uniform(n);
    order.sort_by(|a, b| keys[*a as usize].total_cmp(&keys[*b as usize]));
    order
}

#[test]
fn rows_and_columns_change_places() {
    let small = open("cpu", Some(16 * 1024));
    for gpu in devices().iter().chain([&small]) {
        for n in [1, 15, 16, 17, 131, 257] {
            let (x, values) = matrix(gpu, n);
            let order = shuffled(&mut Data::new(3), n);
            let ids = gpu.upload("order", bytemuck::cast_slice(&order)).unwrap().slice();
            let mut recording = Recording::new();
            let out = PanelMatrix::zeros(gpu, &mut recording, "out", n).unwrap();
            for (_, panel) in out.panels() {
                recording.copy(&poisoned(gpu, panel.rows(), n).slice(), &panel.slice());
            }
            gpu.submit(recording).unwrap();
            play(gpu, |recording| dense::permute(recording, &ids, &x, &out));
            let mut wanted = vec![f32::NAN; n * n];
            permute(&order, [0, 0], &values, &mut wanted);
            let found: Vec<f32> = out.panels().flat_map(|(_, p)| p.fetch(gpu).unwrap()).collect();
            assert_eq!(found, wanted, "{} {n}", gpu.name());
            let plain = |i: usize| values[order[i / n] as usize * n + order[i % n] as usize];
            assert!((0..n * n).all(|i| wanted[i] == plain(i)));
        }
    }
}
