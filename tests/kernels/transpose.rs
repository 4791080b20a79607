use secateur::ops::dense;
use secateur::tensor::DType;

use crate::common::{Data, devices, play, poisoned, stored};

#[test]
fn every_format() {
    for gpu in devices() {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            for [rows, cols] in [[1, 1], [15, 16], [16, 17], [17, 15], [131, 7], [1, 300]] {
                let values = Data::new(8).uniform(rows * cols);
                let (x, seen) = stored(gpu, rows, cols, &values, dtype);
                let out = poisoned(gpu, cols, rows);
                play(gpu, |recording| dense::transpose(recording, &x, &out));
                let wanted: Vec<f32> = (0..rows * cols).map(|i| seen[i % rows * cols + i / rows]).collect();
                let found = out.fetch(gpu).unwrap();
                assert_eq!(found, wanted, "{} {dtype:?} {rows}x{cols}", gpu.name());
            }
        }
    }
}
