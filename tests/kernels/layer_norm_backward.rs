use secateur::ops::nn::layer_norm_backward;
use secateur::reference::nn::layer_norm_backward::layer_norm_backward as twin;

use crate::common::{Data, assert_close, devices, f64s, play, poisoned, tensor};

#[test]
fn gradient_of_the_input() {
    for gpu in devices() {
        for [rows, cols] in [[1, 1], [5, 63], [64, 64], [3, 65], [131, 131], [2, 4097], [65_537, 5]] {
            // With few columns a small epsilon leaves next to nothing of the gradient: the norm undoes any change of size.
            for eps in if cols < 8 { [0.25f32, 0.5] } else { [1e-6, 0.5] } {
                let mut data = Data::new(3);
                let (x, weight, dy) = (data.normal(rows * cols), data.uniform(cols), data.normal(rows * cols));
                let [x_tensor, dy_tensor] = [&x, &dy].map(|v| tensor(gpu, rows, cols, v));
                let weight_tensor = tensor(gpu, 1, cols, &weight);
                let whole = poisoned(gpu, rows + 1, cols);
                let dx = whole.row_window(0, rows);
                play(gpu, |r| {
                    layer_norm_backward(r, &x_tensor, &weight_tensor, eps, [&dy_tensor, &dx])
                });
                let mut wanted = vec![0.0; rows * cols];
                twin(&f64s(&x), &f64s(&weight), f64::from(eps), &f64s(&dy), &mut wanted);
                let found = whole.fetch(gpu).unwrap();
                let what = format!("{} {rows}x{cols} eps {eps}", gpu.name());
                // As the norm itself, and what cancels: at most a few times the result with these epsilons.
                let tolerance = f64::from(f32::EPSILON) * (16.0 + (cols as f64 / 64.0).sqrt());
                assert_close(&what, &found[..rows * cols], &wanted, tolerance);
                assert!(found[rows * cols..].iter().all(|v| v.is_nan()), "{what}: guard row");
            }
        }
    }
}

#[test]
fn a_large_mean_does_not_matter() {
    let (rows, cols) = (7, 200);
    let mut data = Data::new(8);
    // Multiples of 2^-8, so that adding 1000 is exact in f32.
    let x: Vec<f32> = data
        .normal(rows * cols)
        .iter()
        .map(|v| (v * 256.0).round() / 256.0 + 1000.0)
        .collect();
    let (weight, dy) = (data.uniform(cols), data.normal(rows * cols));
    let mut wanted = vec![0.0; rows * cols];
    twin(&f64s(&x), &f64s(&weight), 1e-5, &f64s(&dy), &mut wanted);
    for gpu in devices() {
        let [x_tensor, dy_tensor] = [&x, &dy].map(|v| tensor(gpu, rows, cols, v));
        let dx = poisoned(gpu, rows, cols);
        let weight = tensor(gpu, 1, cols, &weight);
        play(gpu, |r| {
            layer_norm_backward(r, &x_tensor, &weight, 1e-5, [&dy_tensor, &dx])
        });
        assert_close(
            gpu.name(),
            &dx.fetch(gpu).unwrap(),
            &wanted,
            32.0 * f64::from(f32::EPSILON),
        );
    }
}
