use secateur::ops::dense;
use secateur::reference::dense::axpby::axpby;

use super::ELEMENTWISE;
use crate::common::{Data, assert_close, devices, f64s, play, tensor};

#[test]
fn sum_of_scaled_arrays() {
    for gpu in devices() {
        for [rows, cols] in ELEMENTWISE {
            let mut data = Data::new(2);
            let (x, y) = (data.uniform(rows * cols), data.uniform((rows + 1) * cols));
            for beta in [0.0, -0.75] {
                // A guard row must survive; with beta 0 the old contents are NaN.
                let mut start = y.clone();
                if beta == 0.0 {
                    start[..rows * cols].fill(f32::NAN);
                }
                let target = tensor(gpu, rows + 1, cols, &start);
                let x_tensor = tensor(gpu, rows, cols, &x);
                play(gpu, |recording| {
                    dense::axpby(recording, 1.5, &x_tensor, beta, &target.row_window(0, rows));
                });
                let mut wanted = f64s(&y);
                axpby(1.5, &f64s(&x), f64::from(beta), &mut wanted[..rows * cols]);
                let what = format!("{} axpby {rows}x{cols} beta {beta}", gpu.name());
                let tolerance = 4.0 * f64::from(f32::EPSILON);
                assert_close(&what, &target.fetch(gpu).unwrap(), &wanted, tolerance);
            }
        }
    }
}
