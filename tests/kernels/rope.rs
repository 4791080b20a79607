use secateur::ops::nn::{RopeShape, rope, rope_backward};
use secateur::reference::nn::rope::{rope as twin, rope_backward as backward_twin};

use crate::common::{Data, assert_close, devices, f64s, play, tensor};

#[test]
fn pairs_are_rotated_by_the_position_in_the_sequence() {
    // batch, seq, heads, head_dim, rotary_dim
    let cases = [
        [1, 1, 1, 2, 2],
        [2, 5, 3, 64, 64],
        [1, 33, 2, 80, 20],
        [3, 7, 1, 100, 50],
        [1, 131, 9, 8, 8],
        [5, 14_000, 31, 2, 2],
    ];
    for gpu in devices() {
        for [batch, seq, heads, head_dim, rotary_dim] in cases {
            let (rows, cols) = (batch * seq, heads * head_dim);
            let mut data = Data::new(4);
            let x = data.uniform((rows + 1) * cols);
            let table = data.uniform((seq + 2) * rotary_dim);
            let whole = tensor(gpu, rows + 1, cols, &x);
            let table_tensor = tensor(gpu, seq + 2, rotary_dim, &table);
            let shape = RopeShape {
                seq,
                heads,
                head_dim,
                rotary_dim,
            };
            play(gpu, |r| rope(r, &whole.row_window(0, rows), &table_tensor, shape));
            let (mut wanted, table) = (f64s(&x), f64s(&table));
            for (row, x) in wanted.chunks_mut(cols).take(rows).enumerate() {
                twin(head_dim, &table[row % seq * rotary_dim..][..rotary_dim], x);
            }
            let found = whole.fetch(gpu).unwrap();
            let what = format!("{} {shape:?}", gpu.name());
            assert_close(&what, &found, &wanted, 2.0 * f64::from(f32::EPSILON));
            assert_eq!(found[rows * cols..], x[rows * cols..], "{what}: guard row");
        }
    }
}

#[test]
fn convention_is_rotate_half() {
    // A quarter turn: (x0, x1, x2, x3) pairs 0 with 2 and 1 with 3; dimension 4 is not rotated.
    for gpu in devices() {
        let x = tensor(gpu, 1, 5, &[1.0, 2.0, 3.0, 4.0, 5.0]);
        let table = tensor(gpu, 1, 4, &[0.0, 0.0, 1.0, 1.0]);
        let shape = RopeShape {
            seq: 1,
            heads: 1,
            head_dim: 5,
            rotary_dim: 4,
        };
        play(gpu, |r| rope(r, &x, &table, shape));
        assert_close(gpu.name(), &x.fetch(gpu).unwrap(), &[-3.0, -4.0, 1.0, 2.0, 5.0], 0.0);
    }
}

#[test]
fn the_gradient_is_turned_back() {
    // batch, seq, heads, head_dim, rotary_dim
    for [batch, seq, heads, head_dim, rotary_dim] in [[1, 1, 1, 2, 2], [2, 5, 3, 64, 64], [1, 33, 2, 80, 20]] {
        let (rows, cols) = (batch * seq, heads * head_dim);
        let mut data = Data::new(4);
        let (x, table) = (data.uniform((rows + 1) * cols), data.uniform((seq + 2) * rotary_dim));
        let (mut wanted, angles) = (f64s(&x), f64s(&table));
        for (row, x) in wanted.chunks_mut(cols).take(rows).enumerate() {
            backward_twin(head_dim, &angles[row % seq * rotary_dim..][..rotary_dim], x);
        }
        for gpu in devices() {
            let whole = tensor(gpu, rows + 1, cols, &x);
            let table_tensor = tensor(gpu, seq + 2, rotary_dim, &table);
            let shape = RopeShape {
                seq,
                heads,
                head_dim,
                rotary_dim,
            };
            play(gpu, |r| {
                rope_backward(r, &whole.row_window(0, rows), &table_tensor, shape)
            });
            let found = whole.fetch(gpu).unwrap();
            let what = format!("{} {shape:?}", gpu.name());
            assert_close(&what, &found, &wanted, 2.0 * f64::from(f32::EPSILON));
        }
    }
}
