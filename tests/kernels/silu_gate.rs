use secateur::ops::nn::silu_gate;
use secateur::reference::nn::{fast_exp::exp_negative, silu_gate::silu_gate as twin};

use crate::common::{Data, assert_close, devices, f64s, play, tensor};

/// WGSL lets `exp(x)` be wrong by 3 + 2 |x| ulp; it matters while exp(x) does, for |x| below about 4.
const TOLERANCE: f64 = 16.0 * f32::EPSILON as f64;

#[test]
fn gate_times_up() {
    for gpu in devices() {
        for [rows, cols] in [[1, 1], [1, 63], [64, 1], [5, 13], [131, 131], [4099, 1024]] {
            let mut data = Data::new(5);
            let up = data.uniform(rows * cols);
            let gate: Vec<f32> = data.normal((rows + 1) * cols).iter().map(|v| 4.0 * v).collect();
            let up_tensor = tensor(gpu, rows, cols, &up);
            let whole = tensor(gpu, rows + 1, cols, &gate);
            play(gpu, |r| silu_gate(r, &up_tensor, &whole.row_window(0, rows)));
            let mut wanted = f64s(&gate);
            twin(&f64s(&up), &mut wanted[..rows * cols]);
            let found = whole.fetch(gpu).unwrap();
            let what = format!("{} {rows}x{cols}", gpu.name());
            assert_close(&what, &found, &wanted, TOLERANCE);
            assert_eq!(found[rows * cols..], gate[rows * cols..], "{what}: guard row");
        }
    }
}

#[test]
fn large_gates_do_not_overflow() {
    for gpu in devices() {
        for x in [0.0f32, -0.0, 60.0, -60.0, 89.0, -89.0, 1e4, -1e4, 1e30, -1e30] {
            let gate = tensor(gpu, 1, 1, &[x]);
            play(gpu, |r| silu_gate(r, &tensor(gpu, 1, 1, &[0.5]), &gate));
            let found = gate.fetch(gpu).unwrap();
            let mut wanted = [f64::from(x)];
            twin(&[0.5], &mut wanted);
            // Far below zero the result may be flushed to zero.
            let error = (f64::from(found[0]) - wanted[0]).abs();
            let bound = 64.0 * TOLERANCE * wanted[0].abs() + 1e-30;
            assert!(
                error <= bound,
                "{}: silu({x}) = {}, wanted {}",
                gpu.name(),
                found[0],
                wanted[0]
            );
        }
    }
}

#[test]
fn host_exponential_is_right_to_two_ulp() {
    for i in 0..870_000 {
        let x = -(i as f32) * 1e-4;
        let wanted = f64::from(x).exp();
        let error = (f64::from(exp_negative(x)) - wanted).abs();
        assert!(error <= 2.0 * f64::from(f32::EPSILON) * wanted, "exp({x})");
    }
    assert_eq!(exp_negative(0.0), 1.0);
    assert_eq!(exp_negative(f32::NEG_INFINITY), 0.0);
    assert!(exp_negative(f32::NAN).is_nan());
}
