use secateur::ops::nn::layer_norm;
use secateur::reference::nn::layer_norm::layer_norm as twin;

use crate::common::{Data, assert_close, devices, f64s, play, poisoned, tensor};

/// Checks rows of normal numbers around `mean`.
fn check(rows: usize, cols: usize, mean: f32, eps: f32) {
    let mut data = Data::new(3);
    let x: Vec<f32> = data.normal(rows * cols).iter().map(|v| v + mean).collect();
    let (weight, bias) = (data.uniform(cols), data.uniform(cols));
    let mut wanted = vec![0.0; rows * cols];
    twin(&f64s(&x), &f64s(&weight), &f64s(&bias), f64::from(eps), &mut wanted);
    for gpu in devices() {
        let x_tensor = tensor(gpu, rows, cols, &x);
        let [weight, bias] = [&weight, &bias].map(|v| tensor(gpu, 1, cols, v));
        let whole = poisoned(gpu, rows + 1, cols);
        let out = whole.row_window(0, rows);
        play(gpu, |r| layer_norm(r, &x_tensor, &weight, &bias, eps, &out));
        let found = whole.fetch(gpu).unwrap();
        let what = format!("{} {rows}x{cols} mean {mean} eps {eps}", gpu.name());
        // Per lane and in the tree cols / 64 + 6 additions, each rounding the sum; the mean does not matter.
        let tolerance = f64::from(f32::EPSILON) * (8.0 + (cols as f64 / 64.0).sqrt());
        assert_close(&what, &found[..rows * cols], &wanted, tolerance);
        assert!(found[rows * cols..].iter().all(|v| v.is_nan()), "{what}: guard row");
    }
}

#[test]
fn rows_get_zero_mean_and_unit_variance() {
    for [rows, cols] in [[1, 1], [5, 63], [64, 64], [3, 65], [131, 131], [2, 4097], [65_537, 2]] {
        for eps in [1e-5, 0.5] {
            check(rows, cols, 0.0, eps);
        }
    }
}

#[test]
fn a_mean_far_beyond_the_deviation_takes_no_digits() {
    for mean in [1e2, -1e4, 1e5] {
        check(3, 65, mean, 1e-5);
        check(2, 4099, mean, 1e-5);
    }
}

#[test]
fn the_oracle_is_the_formula() {
    let mut out = [f64::NAN; 4];
    twin(
        &[1.0, 2.0, 3.0, 6.0],
        &[1.0, 1.0, 2.0, 1.0],
        &[0.0, 0.0, 0.0, 10.0],
        0.5,
        &mut out,
    );
    // Mean 3, variance 14 / 4, with eps 4.
    assert_eq!(out, [-1.0, -0.5, 0.0, 11.5]);
}
