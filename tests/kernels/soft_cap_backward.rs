use secateur::ops::nn::soft_cap_backward;
use secateur::reference::nn::soft_cap_backward::soft_cap_backward as twin;

use crate::common::{Data, assert_close, devices, f64s, play, tensor};

#[test]
fn gradient_before_the_cap() {
    for gpu in devices() {
        for [rows, cols] in [[1, 1], [1, 63], [64, 1], [1, 65], [131, 131], [4099, 1024]] {
            let mut data = Data::new(5);
            let x: Vec<f32> = data.normal(rows * cols).iter().map(|v| 30.0 * v).collect();
            let dy = data.normal((rows + 1) * cols);
            let (x_tensor, whole) = (tensor(gpu, rows, cols, &x), tensor(gpu, rows + 1, cols, &dy));
            play(gpu, |r| {
                soft_cap_backward(r, 30.0, &x_tensor, &whole.row_window(0, rows))
            });
            let mut wanted = f64s(&dy);
            twin(30.0, &f64s(&x), &mut wanted[..rows * cols]);
            let found = whole.fetch(gpu).unwrap();
            let what = format!("{} {rows}x{cols}", gpu.name());
            // exp(y) may be wrong by 3 + 2 |y| ulp, where it matters for |y| below about 4.
            assert_close(&what, &found, &wanted, 16.0 * f64::from(f32::EPSILON));
            assert_eq!(found[rows * cols..], dy[rows * cols..], "{what}: guard row");
        }
    }
}

#[test]
fn slopes_vanish_far_out_and_never_overflow() {
    let x = [0.0f32, 1e-20, -1e-20, 40.0, -40.0, 1e4, -1e4, 1e30, -1e30];
    for gpu in devices() {
        let (x_tensor, dy) = (tensor(gpu, 1, x.len(), &x), tensor(gpu, 1, x.len(), &[1.0; 9]));
        play(gpu, |r| soft_cap_backward(r, 2.0, &x_tensor, &dy));
        let found = dy.fetch(gpu).unwrap();
        assert_close(gpu.name(), &found[..3], &[1.0; 3], 4.0 * f64::from(f32::EPSILON));
        // 4 exp(-40) at 40, relative even there.
        let tail = 4.0 * (-40.0f64).exp();
        assert_close(gpu.name(), &found[3..5], &[tail; 2], 128.0 * f64::from(f32::EPSILON));
        assert!(found[5..].iter().all(|v| *v == 0.0), "{}: {found:?}", gpu.name());
    }
}
