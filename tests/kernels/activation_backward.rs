use secateur::ops::nn::{Activation, activation_backward};
use secateur::reference::nn::activation_backward as twin;

use super::activation::TOLERANCE;
use crate::common::{Data, assert_close, devices, f64s, play, tensor};

/// The oracle of a function's slope.
pub(crate) fn slope(act: Activation) -> fn(f64) -> f64 {
    match act {
        Activation::Silu => twin::silu_slope,
        Activation::GeluErf => twin::gelu_erf_slope,
        Activation::GeluTanh => twin::gelu_tanh_slope,
        Activation::Relu => twin::relu_slope,
        Activation::QuickGelu => twin::quick_gelu_slope,
    }
}

#[test]
fn every_slope_in_place() {
    for gpu in devices() {
        for act in Activation::ALL {
            for [rows, cols] in [[1, 1], [1, 63], [64, 1], [5, 13], [131, 131], [4099, 1024]] {
                // More groups than one dimension has: once is enough, software adapters are slow.
                if rows > 4096 && act != Activation::Relu {
                    continue;
                }
                let mut data = Data::new(5);
                let x: Vec<f32> = data.normal(rows * cols).iter().map(|v| 4.0 * v).collect();
                let dy = data.normal((rows + 1) * cols);
                let (x_tensor, whole) = (tensor(gpu, rows, cols, &x), tensor(gpu, rows + 1, cols, &dy));
                play(gpu, |r| {
                    activation_backward(r, act, &x_tensor, &whole.row_window(0, rows))
                });
                let mut wanted = f64s(&dy);
                twin::activation_backward(slope(act), &f64s(&x), &mut wanted[..rows * cols]);
                let found = whole.fetch(gpu).unwrap();
                let what = format!("{} {act:?} {rows}x{cols}", gpu.name());
                assert_close(&what, &found, &wanted, TOLERANCE);
                assert_eq!(found[rows * cols..], dy[rows * cols..], "{what}: guard row");
            }
        }
    }
}

#[test]
fn each_slope_is_near() {
    // From -12 to 12, every tail and every seam, and far out, where nothing may overflow.
    let mut x: Vec<f32> = (-12_000..=12_000).map(|i| i as f32 * 1e-3).collect();
    x.extend([
        0.0, -0.0, 15.0, -15.0, 60.0, -60.0, 89.0, -89.0, 1e4, -1e4, 1e13, -1e13, 1e30, -1e30,
    ]);
    for gpu in devices() {
        for act in Activation::ALL {
            let (x_tensor, dy) = (
                tensor(gpu, 1, x.len(), &x),
                tensor(gpu, 1, x.len(), &vec![1.0; x.len()]),
            );
            play(gpu, |r| activation_backward(r, act, &x_tensor, &dy));
            for (x, found) in x.iter().zip(dy.fetch(gpu).unwrap()) {
                let wanted = slope(act)(f64::from(*x));
                let error = (f64::from(found) - wanted).abs();
                // Slopes lie between -0.2 and 1.2; where they vanish they are differences.
                let bound = 16.0 * f64::from(f32::EPSILON);
                assert!(
                    error <= bound,
                    "{}: {act:?}'({x}) = {found}, wanted {wanted}",
                    gpu.name()
                );
            }
        }
    }
}
