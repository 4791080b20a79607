use secateur::ops::nn::{Activation, gate_backward};
use secateur::reference::nn::gate_backward::gate_backward as twin;

use super::activation::{TOLERANCE, oracle};
use super::activation_backward::slope;
use crate::common::{Data, assert_close, devices, f64s, play, tensor};

#[test]
fn gate_and_up_become_their_gradients() {
    for gpu in devices() {
        for act in Activation::ALL {
            for [rows, cols] in [[1, 1], [1, 63], [64, 1], [5, 13], [131, 131], [4099, 1024]] {
                // More groups than one dimension has: once is enough, software adapters are slow.
                if rows > 4096 && act != Activation::Silu {
                    continue;
                }
                let (size, mut data) = (rows * cols, Data::new(5));
                let dhidden = data.normal(size);
                let gate: Vec<f32> = data.normal(size + cols).iter().map(|v| 4.0 * v).collect();
                let up = data.uniform(size + cols);
                let dhidden_tensor = tensor(gpu, rows, cols, &dhidden);
                let wholes = [&gate, &up].map(|v| tensor(gpu, rows + 1, cols, v));
                let [gate_tensor, up_tensor] = wholes.each_ref().map(|t| t.row_window(0, rows));
                play(gpu, |r| {
                    gate_backward(r, act, &dhidden_tensor, &gate_tensor, &up_tensor)
                });
                let (mut dgate, mut dup) = (f64s(&gate), f64s(&up));
                let functions = [oracle(act), slope(act)];
                twin(functions, &f64s(&dhidden), &mut dgate[..size], &mut dup[..size]);
                for (name, whole, before, wanted) in
                    [("gate", &wholes[0], &gate, &dgate), ("up", &wholes[1], &up, &dup)]
                {
                    let found = whole.fetch(gpu).unwrap();
                    let what = format!("{} {act:?} {rows}x{cols} {name}", gpu.name());
                    assert_close(&what, &found, wanted, TOLERANCE);
                    assert_eq!(found[size..], before[size..], "{what}: guard row");
                }
            }
        }
    }
}
