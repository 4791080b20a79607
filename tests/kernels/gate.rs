use secateur::ops::nn::{Activation, gate};
use secateur::reference::nn::gate::gate as twin;

use super::activation::{TOLERANCE, oracle};
use crate::common::{Data, assert_close, devices, f64s, play, tensor};

#[test]
fn gate_times_up() {
    for gpu in devices() {
        for act in Activation::ALL {
            for [rows, cols] in [[1, 1], [1, 63], [64, 1], [5, 13], [131, 131], [4099, 1024]] {
                // More groups than one dimension has: once is enough, software adapters are slow.
                if rows > 4096 && act != Activation::Silu {
                    continue;
                }
                let mut data = Data::new(5);
                let up = data.uniform(rows * cols);
                let before: Vec<f32> = data.normal((rows + 1) * cols).iter().map(|v| 4.0 * v).collect();
                let up_tensor = tensor(gpu, rows, cols, &up);
                let whole = tensor(gpu, rows + 1, cols, &before);
                play(gpu, |r| gate(r, act, &up_tensor, &whole.row_window(0, rows)));
                let mut wanted = f64s(&before);
                twin(oracle(act), &f64s(&up), &mut wanted[..rows * cols]);
                let found = whole.fetch(gpu).unwrap();
                let what = format!("{} {act:?} {rows}x{cols}", gpu.name());
                assert_close(&what, &found, &wanted, TOLERANCE);
                assert_eq!(found[rows * cols..], before[rows * cols..], "{what}: guard row");
            }
        }
    }
}
