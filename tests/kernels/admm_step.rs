use secateur::ops::prox::{Penalty, admm_step};
use secateur::reference::prox::admm_step as twin;

use super::ELEMENTWISE;
use crate::common::{Data, assert_close, devices, f64s, play, poisoned, tensor};

#[test]
fn equals_the_twin() {
    for gpu in devices() {
        for [rows, cols] in ELEMENTWISE {
            let mut data = Data::new(50);
            let [b, d, z] = [(); 3].map(|()| data.uniform(rows * cols));
            let [b_tensor, d_tensor, z_tensor] = [&b, &d, &z].map(|v| tensor(gpu, rows, cols, v));
            let right = poisoned(gpu, rows, cols);
            let penalty = Penalty {
                before: 0.5,
                next: 0.65,
            };
            play(gpu, |recording| {
                admm_step(recording, penalty, [&b_tensor, &d_tensor], &z_tensor, &right);
            });
            let (mut wanted, mut wanted_right) = (f64s(&z), vec![0.0; rows * cols]);
            twin::admm_step([0.65, 0.5 / 0.65], &f64s(&b), &f64s(&d), &mut wanted, &mut wanted_right);
            let (what, tolerance) = (format!("{} {rows}x{cols}", gpu.name()), 8.0 * f64::from(f32::EPSILON));
            assert_close(&what, &z_tensor.fetch(gpu).unwrap(), &wanted, tolerance);
            assert_close(&what, &right.fetch(gpu).unwrap(), &wanted_right, tolerance);
        }
    }
}
