use secateur::ops::dense;
use secateur::reference::dense::gemv::gemv;

use super::ROWWISE;
use crate::common::{Data, assert_close, devices, f64s, play, tensor};

#[test]
fn panel_times_vector() {
    for gpu in devices() {
        for [rows, cols] in ROWWISE {
            let mut data = Data::new(9);
            let (matrix, x) = (data.uniform(rows * cols), data.uniform(cols));
            let old = data.uniform(rows + 5);
            let y = tensor(gpu, 1, rows + 5, &old);
            let (matrix_tensor, x_tensor) = (tensor(gpu, rows, cols, &matrix), tensor(gpu, 1, cols, &x));
            play(gpu, |recording| {
                dense::gemv(recording, &matrix_tensor, &x_tensor, 2, &y)
            });
            let mut wanted = f64s(&old);
            gemv(&f64s(&matrix), &f64s(&x), 2, &mut wanted);
            let what = format!("{} gemv {rows}x{cols}", gpu.name());
            let tolerance = 8.0 * f64::from(f32::EPSILON) * (cols as f64).sqrt();
            assert_close(&what, &y.fetch(gpu).unwrap(), &wanted, tolerance);
        }
    }
}
