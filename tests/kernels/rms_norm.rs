use secateur::ops::nn::rms_norm;
use secateur::reference::nn::rms_norm::rms_norm as twin;

use crate::common::{Data, assert_close, devices, f64s, play, poisoned, tensor};

#[test]
fn rows_are_scaled_to_unit_mean_square() {
    for gpu in devices() {
        for [rows, cols] in [[1, 1], [5, 63], [64, 64], [3, 65], [131, 131], [2, 4097], [65_537, 2]] {
            for eps in [1e-6f32, 0.5] {
                let mut data = Data::new(3);
                let (x, weight) = (data.normal(rows * cols), data.uniform(cols));
                let (x_tensor, weight_tensor) = (tensor(gpu, rows, cols, &x), tensor(gpu, 1, cols, &weight));
                let whole = poisoned(gpu, rows + 1, cols);
                let out = whole.row_window(0, rows);
                play(gpu, |r| rms_norm(r, &x_tensor, &weight_tensor, eps, &out));
                let mut wanted = vec![0.0; rows * cols];
                twin(&f64s(&x), &f64s(&weight), f64::from(eps), &mut wanted);
                let found = whole.fetch(gpu).unwrap();
                let what = format!("{} {rows}x{cols} eps {eps}", gpu.name());
                // Per lane and in the tree cols / 64 + 6 additions, each rounding the sum; half of that after the root.
                let tolerance = f64::from(f32::EPSILON) * (4.0 + (cols as f64 / 64.0).sqrt());
                assert_close(&what, &found[..rows * cols], &wanted, tolerance);
                assert!(found[rows * cols..].iter().all(|v| v.is_nan()), "{what}: guard row");
            }
        }
    }
}
