use secateur::ops::nn::soft_cap;
use secateur::reference::nn::soft_cap::soft_cap as twin;

use crate::common::{Data, assert_close, devices, f64s, play, tensor};

/// Cephes' polynomial is right to 2 ulp; WGSL's division adds 2.5 and the multiplications one each.
const TOLERANCE: f64 = 8.0 * f32::EPSILON as f64;

#[test]
fn bounded_by_the_cap() {
    for gpu in devices() {
        for [rows, cols] in [[1, 1], [1, 63], [64, 1], [1, 65], [131, 131], [4099, 1024]] {
            let x: Vec<f32> = Data::new(5)
                .normal((rows + 1) * cols)
                .iter()
                .map(|v| 30.0 * v)
                .collect();
            let whole = tensor(gpu, rows + 1, cols, &x);
            play(gpu, |r| soft_cap(r, 30.0, &whole.row_window(0, rows)));
            let mut wanted = f64s(&x);
            twin(30.0, &mut wanted[..rows * cols]);
            let found = whole.fetch(gpu).unwrap();
            let what = format!("{} {rows}x{cols}", gpu.name());
            assert_close(&what, &found, &wanted, TOLERANCE);
            assert_eq!(found[rows * cols..], x[rows * cols..], "{what}: guard row");
        }
    }
}

#[test]
fn each_element_is_near_from_tiny_to_huge() {
    let mut x: Vec<f32> = (-9000..=9000).map(|i| i as f32 * 1e-2).collect();
    x.extend([1e-20, -1e-20, 1e-4, -1e-4, 1e4, -1e4, 1e30, -1e30]);
    for gpu in devices() {
        for cap in [1.0f32, 30.0, 50.0] {
            let tensor = tensor(gpu, 1, x.len(), &x);
            play(gpu, |r| soft_cap(r, cap, &tensor));
            let mut wanted = f64s(&x);
            twin(f64::from(cap), &mut wanted);
            for ((x, found), wanted) in x.iter().zip(tensor.fetch(gpu).unwrap()).zip(wanted) {
                let error = (f64::from(found) - wanted).abs();
                assert!(
                    error <= TOLERANCE * wanted.abs(),
                    "{}: cap {cap} of {x} is {found}, wanted {wanted}",
                    gpu.name()
                );
            }
        }
    }
}
