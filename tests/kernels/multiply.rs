use secateur::ops::dense;
use secateur::reference::dense::multiply::multiply;

use super::ELEMENTWISE;
use crate::common::{Data, assert_close, devices, f64s, play, tensor};

#[test]
fn elementwise_product() {
    for gpu in devices() {
        for [rows, cols] in ELEMENTWISE {
            let mut data = Data::new(3);
            let (x, y) = (data.uniform(rows * cols), data.uniform((rows + 1) * cols));
            let (x_tensor, target) = (tensor(gpu, rows, cols, &x), tensor(gpu, rows + 1, cols, &y));
            play(gpu, |recording| {
                dense::multiply(recording, &x_tensor, &target.row_window(0, rows));
            });
            let mut wanted = f64s(&y);
            multiply(&f64s(&x), &mut wanted[..rows * cols]);
            let what = format!("{} multiply {rows}x{cols}", gpu.name());
            let tolerance = f64::from(f32::EPSILON);
            assert_close(&what, &target.fetch(gpu).unwrap(), &wanted, tolerance);
        }
    }
}
