use secateur::ops::prox;
use secateur::reference::prox::cg_begin::cg_begin_row;

use super::ROWWISE;
use crate::common::{Data, assert_close, devices, f64s, play, poisoned, tensor};

#[test]
fn first_residual() {
    for gpu in devices() {
        for [rows, cols] in ROWWISE {
            let size = rows * cols;
            let mut data = Data::new(19);
            let (vh, b) = (data.uniform(size), data.uniform(size));
            let support: Vec<f32> = data.below(3, size).iter().map(|v| f32::from(*v > 0)).collect();
            let inputs = [&vh, &b, &support].map(|values| tensor(gpu, rows, cols, values));
            let (r, p, rs) = (
                poisoned(gpu, rows, cols),
                poisoned(gpu, rows, cols),
                poisoned(gpu, 2, rows),
            );
            play(gpu, |recording| {
                prox::cg_begin(recording, &inputs[0], &inputs[1], &inputs[2], &r, &p, &rs);
            });
            let (vh, b, support) = (f64s(&vh), f64s(&b), f64s(&support));
            let (mut wanted, mut direction, mut squares) = (vec![0.0; size], vec![0.0; size], Vec::new());
            for i in 0..rows {
                let at = i * cols..(i + 1) * cols;
                let (r, p) = (&mut wanted[at.clone()], &mut direction[at.clone()]);
                squares.push(cg_begin_row(&vh[at.clone()], &b[at.clone()], &support[at], r, p));
            }
            let what = format!("{} cg_begin {rows}x{cols}", gpu.name());
            let epsilon = f64::from(f32::EPSILON);
            assert_close(&what, &r.fetch(gpu).unwrap(), &wanted, 2.0 * epsilon);
            assert_close(&what, &p.fetch(gpu).unwrap(), &direction, 2.0 * epsilon);
            let tolerance = 8.0 * epsilon * (cols as f64).sqrt();
            let rs = rs.fetch(gpu).unwrap();
            for (which, found) in rs.chunks(rows).enumerate() {
                let wanted: Vec<f64> = squares.iter().map(|s| s[which]).collect();
                assert_close(&what, found, &wanted, tolerance);
            }
        }
    }
}
