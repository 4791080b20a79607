use secateur::ops::dense::{self, RowReduce};
use secateur::reference::dense::row_reduce::row_reduce;

use super::ROWWISE;
use crate::common::{Data, assert_close, devices, f64s, play, poisoned, tensor};

#[test]
fn every_mode() {
    for gpu in devices() {
        for mode in [RowReduce::Dot, RowReduce::CountNonZero, RowReduce::AbsSum] {
            for [rows, cols] in ROWWISE {
                let mut data = Data::new(11);
                let mut a = data.uniform(rows * cols);
                a.iter_mut().filter(|v| v.abs() < 0.3).for_each(|v| *v = 0.0);
                let b = data.uniform(rows * cols);
                let (a_tensor, b_tensor) = (tensor(gpu, rows, cols, &a), tensor(gpu, rows, cols, &b));
                let second = if mode == RowReduce::Dot { &b_tensor } else { &a_tensor };
                let out = poisoned(gpu, 1, rows);
                play(gpu, |recording| {
                    dense::row_reduce(recording, mode, &a_tensor, second, &out)
                });
                let (a, b) = (f64s(&a), f64s(&b));
                let lines = a.chunks(cols).zip(b.chunks(cols));
                let wanted: Vec<f64> = lines.map(|(a, b)| row_reduce(mode as u32, a, b)).collect();
                let what = format!("{} {mode:?} {rows}x{cols}", gpu.name());
                let tolerance = 8.0 * f64::from(f32::EPSILON) * (cols as f64).sqrt();
                let tolerance = if mode == RowReduce::CountNonZero {
                    0.0
                } else {
                    tolerance
                };
                assert_close(&what, &out.fetch(gpu).unwrap(), &wanted, tolerance);
            }
        }
    }
}
