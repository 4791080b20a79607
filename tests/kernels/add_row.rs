use secateur::ops::dense;
use secateur::reference::dense::add_row::add_row;

use super::ELEMENTWISE;
use crate::common::{Data, assert_close, devices, f64s, play, tensor};

#[test]
fn a_row_on_every_row() {
    for gpu in devices() {
        for [rows, cols] in ELEMENTWISE {
            let mut data = Data::new(4);
            let row = data.uniform(cols);
            let x = data.uniform((rows + 1) * cols);
            let (row_tensor, whole) = (tensor(gpu, 1, cols, &row), tensor(gpu, rows + 1, cols, &x));
            play(gpu, |r| dense::add_row(r, &row_tensor, &whole.row_window(0, rows)));
            let mut wanted = f64s(&x);
            add_row(&f64s(&row), &mut wanted[..rows * cols]);
            let what = format!("{} {rows}x{cols}", gpu.name());
            let tolerance = f64::from(f32::EPSILON);
            let found = whole.fetch(gpu).unwrap();
            assert_close(&what, &found, &wanted, tolerance);
            assert_eq!(found[rows * cols..], x[rows * cols..], "{what}: guard row");
        }
    }
}
