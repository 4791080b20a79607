use secateur::ops::dense::{self, TwoFour};
use secateur::reference::dense::gemv_two_four::{dot, pack, words};
use secateur::tensor::DType;

use crate::common::{Data, assert_close, devices, f64s, play, poisoned, tensor};

/// Rows and columns: one group, a word of places and one more, more groups than invocations, a long thin one.
const SIZES: [[usize; 2]; 6] = [[1, 4], [7, 32], [3, 36], [131, 260], [2, 4100], [300, 12]];

#[test]
fn two_of_four_times_vector() {
    for gpu in devices() {
        for [rows, cols] in SIZES {
            for dtype in [DType::F32, DType::F16, DType::BF16] {
                let mut data = Data::new(91);
                let mut weights = data.uniform(rows * cols);
                // Any two of four, and in some groups one or none.
                for (group, choice) in weights.chunks_mut(4).zip(data.below(10, rows * cols / 4)) {
                    let kept: &[usize] = [
                        &[0, 1][..],
                        &[0, 2],
                        &[0, 3],
                        &[1, 2],
                        &[1, 3],
                        &[2, 3],
                        &[3],
                        &[1],
                        &[0],
                        &[],
                    ][choice as usize];
                    for i in (0..4).filter(|i| !kept.contains(i)) {
                        group[i] = 0.0;
                    }
                }
                let weights = dtype.decode(&dtype.encode(&weights));
                let x = data.uniform(cols);
                let matrix = TwoFour::upload(gpu, &weights, cols, dtype).unwrap();
                let (x_tensor, y) = (tensor(gpu, 1, cols, &x), poisoned(gpu, 1, rows));
                play(gpu, |recording| {
                    dense::gemv_two_four(recording, &matrix, &x_tensor, &y);
                });
                let (wide, x) = (f64s(&weights), f64s(&x));
                let plain = |row: &[f64]| row.iter().zip(&x).map(|(w, x)| w * x).sum::<f64>();
                let wanted: Vec<f64> = wide.chunks(cols).map(plain).collect();
                let what = format!("{} {dtype:?} {rows}x{cols}", gpu.name());
                let tolerance = 8.0 * f64::from(f32::EPSILON) * (cols as f64).sqrt();
                assert_close(&what, &y.fetch(gpu).unwrap(), &wanted, tolerance);
                // The twin reads the packed form.
                let packed = pack(&wide, cols).unwrap();
                let lines = packed.values.chunks(cols / 2).zip(packed.places.chunks(words(cols)));
                for ((values, places), wanted) in lines.zip(&wanted) {
                    assert!((dot(values, places, &x) - wanted).abs() < 1e-9, "{what}: twin");
                }
            }
        }
    }
}
