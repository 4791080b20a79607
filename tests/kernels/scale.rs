use secateur::ops::dense;
use secateur::reference::dense::scale::scale;

use super::ELEMENTWISE;
use crate::common::{Data, assert_close, devices, f64s, play, tensor};

#[test]
fn rows_and_columns() {
    for gpu in devices() {
        for [rows, cols] in ELEMENTWISE {
            let mut data = Data::new(4);
            let (row, col) = (data.uniform(rows), data.uniform(cols));
            let x = data.uniform((rows + 1) * cols);
            let target = tensor(gpu, rows + 1, cols, &x);
            let (row_tensor, col_tensor) = (tensor(gpu, 1, rows, &row), tensor(gpu, 1, cols, &col));
            play(gpu, |recording| {
                dense::scale(recording, &target.row_window(0, rows), &row_tensor, &col_tensor);
            });
            let mut wanted = f64s(&x);
            scale(&f64s(&row), &f64s(&col), &mut wanted[..rows * cols]);
            let what = format!("{} scale {rows}x{cols}", gpu.name());
            let tolerance = 2.0 * f64::from(f32::EPSILON);
            assert_close(&what, &target.fetch(gpu).unwrap(), &wanted, tolerance);
        }
    }
}
