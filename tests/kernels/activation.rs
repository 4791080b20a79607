use secateur::ops::nn::{Activation, activation};
use secateur::reference::nn::activation as twin;
use secateur::reference::nn::fast_exp::exp_negative;

use crate::common::{Data, assert_close, devices, f64s, play, tensor};

/// WGSL lets `exp(x)` be wrong by 3 + 2 |x| ulp; it matters while exp(x) does, for |x| below about 4.
pub(super) const TOLERANCE: f64 = 16.0 * f32::EPSILON as f64;

/// The oracle of a function.
pub(crate) fn oracle(act: Activation) -> fn(f64) -> f64 {
    match act {
        Activation::Silu => twin::silu,
        Activation::GeluErf => twin::gelu_erf,
        Activation::GeluTanh => twin::gelu_tanh,
        Activation::Relu => twin::relu,
        Activation::QuickGelu => twin::quick_gelu,
    }
}

#[test]
fn every_function_in_place() {
    for gpu in devices() {
        for act in Activation::ALL {
            for [rows, cols] in [[1, 1], [1, 63], [64, 1], [5, 13], [131, 131], [4099, 1024]] {
                // More groups than one dimension has: once is enough, software adapters are slow.
                if rows > 4096 && act != Activation::Relu {
                    continue;
                }
                let x: Vec<f32> = Data::new(5).normal((rows + 1) * cols).iter().map(|v| 4.0 * v).collect();
                let whole = tensor(gpu, rows + 1, cols, &x);
                play(gpu, |r| activation(r, act, &whole.row_window(0, rows)));
                let mut wanted = f64s(&x);
                twin::activation(oracle(act), &mut wanted[..rows * cols]);
                let found = whole.fetch(gpu).unwrap();
                let what = format!("{} {act:?} {rows}x{cols}", gpu.name());
                assert_close(&what, &found, &wanted, TOLERANCE);
                assert_eq!(found[rows * cols..], x[rows * cols..], "{what}: guard row");
            }
        }
    }
}

#[test]
fn each_element_is_near() {
    // From -12 to 12, every tail and every seam.
    let x: Vec<f32> = (-12_000..=12_000).map(|i| i as f32 * 1e-3).collect();
    for gpu in devices() {
        for act in Activation::ALL {
            let tensor = tensor(gpu, 1, x.len(), &x);
            play(gpu, |r| activation(r, act, &tensor));
            for (x, found) in x.iter().zip(tensor.fetch(gpu).unwrap()) {
                let wanted = oracle(act)(f64::from(*x));
                let error = (f64::from(found) - wanted).abs();
                let bound = 8.0 * f64::from(f32::EPSILON) * wanted.abs().max(f64::from(x.abs()).min(1.0));
                assert!(
                    error <= bound,
                    "{}: {act:?}({x}) = {found}, wanted {wanted}",
                    gpu.name()
                );
            }
        }
    }
}

#[test]
fn far_out_nothing_overflows() {
    let far = [
        0.0f32, -0.0, 9.0, -9.0, 15.0, -15.0, 60.0, -60.0, 89.0, -89.0, 1e4, -1e4, 1e13, -1e13, 1e30, -1e30,
    ];
    for gpu in devices() {
        for act in Activation::ALL {
            let x = tensor(gpu, 1, far.len(), &far);
            play(gpu, |r| activation(r, act, &x));
            for (x, found) in far.iter().zip(x.fetch(gpu).unwrap()) {
                let wanted = oracle(act)(f64::from(*x));
                // Far below zero the result may be flushed to zero, and exp may be wrong by 2 |x| ulp before that.
                let error = (f64::from(found) - wanted).abs();
                let bound = 64.0 * TOLERANCE * wanted.abs() + 1e-30;
                assert!(
                    error <= bound,
                    "{}: {act:?}({x}) = {found}, wanted {wanted}",
                    gpu.name()
                );
            }
        }
    }
}

#[test]
fn oracles_are_the_functions_of_their_names() {
    // Values of a C library's erfc, tanh and exp.
    let tabled: [(f64, f64); 6] = [
        (0.0, 1.0),
        (0.5, 0.479_500_122_186_953_5),
        (1.0, 0.157_299_207_050_285_13),
        (2.0, 0.004_677_734_981_047_266),
        (3.0, 2.209_049_699_858_544e-5),
        (5.0, 1.537_459_794_428_035e-12),
    ];
    for (z, wanted) in tabled {
        // Relative even in the tail: it is not a difference.
        let close = |found: f64, wanted: f64| (found - wanted).abs() <= 16.0 * f64::EPSILON * wanted;
        assert!(close(twin::erfc(z), wanted), "erfc({z}) = {}", twin::erfc(z));
        assert!(close(twin::erfc(-z), 2.0 - wanted), "erfc(-{z}) = {}", twin::erfc(-z));
    }
    let at_minus_one = [
        (Activation::Silu, -0.268_941_421_369_995_1),
        (Activation::GeluErf, -0.158_655_253_931_457_05),
        (Activation::GeluTanh, -0.158_808_009_391_723_24),
        (Activation::Relu, 0.0),
        (Activation::QuickGelu, -0.154_204_234_067_178_7),
    ];
    for (act, wanted) in at_minus_one {
        let found = oracle(act)(-1.0);
        assert!((found - wanted).abs() < 1e-12, "{act:?}(-1) = {found}, wanted {wanted}");
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
