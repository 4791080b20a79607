use secateur::ops::dense;
use secateur::reference::dense::sum_parts::sum_parts;

use crate::common::{Data, assert_close, devices, f64s, play, tensor};

#[test]
fn parts_added_to_a_total() {
    for gpu in devices() {
        for [rows, cols] in [[1, 1], [1, 255], [16, 16], [257, 1], [31, 33], [131, 131]] {
            for (count, upper) in [(1, false), (2, true), (7, false), (16, true)] {
                let mut data = Data::new(4);
                let (mut parts, old) = (data.uniform(count * rows * cols), data.uniform((rows + 1) * cols));
                // What lies below the diagonal must not be read.
                for (i, part) in parts.iter_mut().enumerate() {
                    let i = i % (rows * cols);
                    if upper && i % cols < i / cols {
                        *part = f32::NAN;
                    }
                }
                let (held, total) = (
                    tensor(gpu, count * rows, cols, &parts),
                    tensor(gpu, rows + 1, cols, &old),
                );
                play(gpu, |recording| {
                    dense::sum_parts(recording, &held.slice(), upper, &total.row_window(0, rows));
                });
                let mut wanted = f64s(&old);
                sum_parts(cols, &f64s(&parts), upper, &mut wanted[..rows * cols]);
                let what = format!("{} sum_parts {count} of {rows}x{cols} upper {upper}", gpu.name());
                let tolerance = f64::from(f32::EPSILON) * (count + 1) as f64;
                assert_close(&what, &total.fetch(gpu).unwrap(), &wanted, tolerance);
            }
        }
    }
}
