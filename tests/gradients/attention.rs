use secateur::reference::nn::attention::{Shape, attention};
use secateur::reference::nn::attention_backward::{Gradients, attention_backward};

use super::{assert_gradient, dot, random};

fn check(shape: Shape<f64>, batch: usize) {
    let rows = batch * shape.seq;
    let (width, kv_width) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    let widths = [width, kv_width, kv_width, width];
    let inputs: [Vec<f64>; 4] = std::array::from_fn(|i| random(i as u64, rows * widths[i]));
    let mut found = [2 * shape.heads, width, kv_width, kv_width].map(|cols| vec![f64::NAN; rows * cols]);
    let [stats, dq, dk, dv] = &mut found;
    let [q, k, v, c] = inputs.each_ref().map(Vec::as_slice);
    attention_backward(shape, [q, k, v, c], Gradients { stats, dq, dk, dv });
    let loss = |q: &[f64], k: &[f64], v: &[f64]| {
        let mut out = vec![f64::NAN; rows * width];
        attention(shape, q, k, v, &mut out);
        dot(c, &out)
    };
    assert_gradient(&format!("{shape:?}: dq"), &found[1], q, |q| loss(q, k, v));
    assert_gradient(&format!("{shape:?}: dk"), &found[2], k, |k| loss(q, k, v));
    assert_gradient(&format!("{shape:?}: dv"), &found[3], v, |v| loss(q, k, v));
}

#[test]
fn queries_keys_and_values() {
    for (heads, kv_heads) in [(1, 1), (4, 2), (3, 1)] {
        for window in [None, Some(2), Some(3)] {
            for soft_cap in [None, Some(0.8)] {
                let shape = Shape {
                    seq: 7,
                    heads,
                    kv_heads,
                    head_dim: 3,
                    scale: 1.3,
                    window,
                    soft_cap,
                };
                check(shape, 2);
            }
        }
    }
}
