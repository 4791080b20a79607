use secateur::reference::nn::layer_norm::layer_norm;
use secateur::reference::nn::layer_norm_backward::layer_norm_backward;
use secateur::reference::nn::rms_norm::rms_norm;
use secateur::reference::nn::rms_norm_backward::rms_norm_backward;

use super::{assert_gradient, dot, random};

const SHAPES: [[usize; 2]; 5] = [[1, 2], [3, 5], [2, 16], [1, 17], [2, 37]];

#[test]
fn rms_norm_of_rows() {
    for [rows, cols] in SHAPES {
        for eps in [1e-3, 0.5] {
            let (x, weight, c) = (random(1, rows * cols), random(2, cols), random(3, rows * cols));
            let mut found = vec![f64::NAN; x.len()];
            rms_norm_backward(&x, &weight, eps, &c, &mut found);
            assert_gradient(&format!("rms norm {rows}x{cols} eps {eps}"), &found, &x, |x| {
                let mut out = vec![f64::NAN; x.len()];
                rms_norm(x, &weight, eps, &mut out);
                dot(&c, &out)
            });
        }
    }
}

#[test]
fn layer_norm_of_rows() {
    for [rows, cols] in SHAPES {
        for (eps, level) in [(0.1, 0.0), (0.5, 3.0)] {
            let x: Vec<f64> = random(1, rows * cols).iter().map(|v| v + level).collect();
            let (weight, c) = (random(2, cols), random(3, rows * cols));
            let bias = random(4, cols);
            let mut found = vec![f64::NAN; x.len()];
            layer_norm_backward(&x, &weight, eps, &c, &mut found);
            assert_gradient(&format!("layer norm {rows}x{cols} eps {eps}"), &found, &x, |x| {
                let mut out = vec![f64::NAN; x.len()];
                layer_norm(x, &weight, &bias, eps, &mut out);
                dot(&c, &out)
            });
        }
    }
}
