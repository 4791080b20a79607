use secateur::gpu::Recording;
use secateur::ops::prox;
use secateur::reference::prox::cost_histogram::{COST_BINS, cost_bin, cost_histogram};
use secateur::tensor::Tensor;

use super::ELEMENTWISE;
use crate::common::{Data, devices, tensor};

#[test]
fn counts_by_leading_bits() {
    for gpu in devices() {
        for [rows, cols] in ELEMENTWISE.into_iter().chain([[257, 263]]) {
            let mut data = Data::new(73);
            // Ten decades, equal ones, zeros, and the largest.
            let mut costs: Vec<f32> = (data.uniform(rows * cols).iter())
                .map(|v| if *v > 0.9 { 0.25 } else { 10f32.powf(10.0 * v).max(0.0) })
                .collect();
            costs[0] = f32::MAX;
            let w: Vec<f32> = data.below(4, rows * cols).iter().map(|v| *v as f32 - 1.0).collect();
            let mut recording = Recording::new();
            let histogram = Tensor::zeros(gpu, &mut recording, "histogram", 1, COST_BINS).unwrap();
            let (c, w_tensor) = (tensor(gpu, rows, cols, &costs), tensor(gpu, rows, cols, &w));
            // Twice: it adds.
            for _ in 0..2 {
                prox::cost_histogram(&mut recording, &c, &w_tensor, &histogram);
            }
            let id = recording.read(&histogram.slice());
            let found = gpu.submit(recording).unwrap().words(id).unwrap();
            let mut wanted = vec![0; COST_BINS];
            let bits: Vec<u32> = costs.iter().map(|v| v.to_bits()).collect();
            cost_histogram(&bits, &w, &mut wanted);
            assert!(
                found.iter().zip(&wanted).all(|(f, w)| *f == 2 * w),
                "{} {rows}x{cols}",
                gpu.name()
            );
            let counted = w.iter().filter(|w| **w != 0.0).count();
            assert_eq!(wanted.iter().sum::<u32>() as usize, counted);
        }
    }
}

#[test]
fn bins_keep_the_order() {
    let values = [
        0.0f32,
        1e-40,
        1e-30,
        1.0,
        1.003,
        1.01,
        2.0,
        1e30,
        f32::MAX,
        f32::INFINITY,
    ];
    let bins: Vec<usize> = values.iter().map(|v| cost_bin(v.to_bits())).collect();
    assert!(bins.is_sorted() && bins[9] < COST_BINS, "{bins:?}");
    assert!(bins[3] < bins[5], "one per cent apart");
}
