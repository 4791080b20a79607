use secateur::ops::prox;
use secateur::reference::prox::soft_threshold::soft_threshold;

use super::ELEMENTWISE;
use crate::common::{Data, assert_close, devices, f64s, play, poisoned, tensor};

#[test]
fn shrinks_and_cuts() {
    for gpu in devices() {
        for [rows, cols] in ELEMENTWISE {
            let x = Data::new(12).uniform(rows * cols);
            for threshold in [0.0, 0.4] {
                let (x_tensor, out) = (tensor(gpu, rows, cols, &x), poisoned(gpu, rows, cols));
                play(gpu, |recording| {
                    prox::soft_threshold(recording, threshold, &x_tensor, &out);
                });
                let mut wanted = vec![0.0; rows * cols];
                soft_threshold(f64::from(threshold), &f64s(&x), &mut wanted);
                let found = out.fetch(gpu).unwrap();
                let what = format!("{} soft threshold {rows}x{cols}", gpu.name());
                assert_close(&what, &found, &wanted, f64::from(f32::EPSILON));
                // Prox optimality: x - out is in the subdifferential of threshold |.| at out; zeros are positive.
                for (x, out) in x.iter().zip(&found) {
                    let gap = (x - out).abs();
                    assert!(gap <= threshold + f32::EPSILON, "{what}: {x} to {out}");
                    assert!(*out == 0.0 || gap >= threshold - f32::EPSILON, "{what}: {x} to {out}");
                    assert!(*out != 0.0 || out.is_sign_positive(), "{what}: -0");
                }
            }
        }
    }
}
