use secateur::ops::nn::{AttentionShape, attention, attention_with};
use secateur::reference::nn::attention::{Shape, attention as twin};

use crate::common::{Data, assert_close, devices, f64s, play, poisoned, tensor};

/// Checks one call; `size` scales queries and keys, `limit` is the flops per dispatch.
fn check(case: [usize; 5], size: f32, limit: Option<f64>) {
    let [batch, seq, heads, kv_heads, head_dim] = case;
    let (rows, width, kv_width) = (batch * seq, heads * head_dim, kv_heads * head_dim);
    let scale = 1.0 / (head_dim as f32).sqrt();
    let mut data = Data::new(9);
    let mut uniform = |n: usize, size: f32| -> Vec<f32> { data.uniform(n).iter().map(|v| v * size).collect() };
    let (q, k, v) = (
        uniform(rows * width, size),
        uniform(rows * kv_width, size),
        uniform(rows * kv_width, 1.0),
    );
    let mut wanted = vec![0.0; rows * width];
    let shape = Shape {
        seq,
        heads,
        kv_heads,
        head_dim,
        scale: f64::from(scale),
    };
    twin(shape, &f64s(&q), &f64s(&k), &f64s(&v), &mut wanted);
    for gpu in devices() {
        let [q, k, v] = [(&q, width), (&k, kv_width), (&v, kv_width)].map(|(x, cols)| tensor(gpu, rows, cols, x));
        let whole = poisoned(gpu, rows + 1, width);
        let out = whole.row_window(0, rows);
        let shape = AttentionShape {
            seq,
            heads,
            kv_heads,
            head_dim,
            scale,
        };
        play(gpu, |r| match limit {
            None => attention(r, gpu, &q, &k, &v, &out, shape),
            Some(limit) => attention_with(r, limit, [&q, &k, &v], &out, shape),
        });
        let found = whole.fetch(gpu).unwrap();
        let what = format!("{} {shape:?} batch {batch} size {size} limit {limit:?}", gpu.name());
        // A score is a sum of at most `reach`, and its absolute error is a weight's relative error.
        let reach = f64::from(scale * size * size) * head_dim as f64;
        let tolerance = f64::from(f32::EPSILON) * (8.0 + reach + (seq as f64).sqrt());
        assert_close(&what, &found[..rows * width], &wanted, tolerance);
        assert!(found[rows * width..].iter().all(|v| v.is_nan()), "{what}: guard row");
    }
}

/// batch, seq, heads, kv_heads, head_dim: lengths around a block (16, 8 or 4) and a host block (64), every knob value.
const CASES: [[usize; 5]; 17] = [
    [1, 1, 1, 1, 1],
    [1, 1, 2, 1, 8],
    [2, 15, 4, 2, 8],
    [1, 131, 2, 2, 8],
    [1, 16, 3, 1, 64],
    [3, 17, 3, 3, 64],
    [2, 65, 9, 3, 64],
    [1, 40, 1, 1, 5],
    [1, 33, 2, 1, 50],
    [2, 7, 2, 1, 80],
    [1, 8, 2, 2, 80],
    [2, 9, 2, 1, 100],
    [1, 33, 4, 1, 128],
    [5, 3, 1, 1, 256],
    [1, 4, 2, 1, 256],
    [2, 13, 2, 1, 256],
    [1, 9, 1, 1, 131],
];

#[test]
fn weighted_mean_of_earlier_values() {
    for case in CASES {
        check(case, 1.0, None);
    }
}

#[test]
fn dispatches_cover_every_query_block_once() {
    for limit in [0.0, 2e5, 1e6] {
        check([2, 100, 3, 1, 64], 1.0, Some(limit));
        check([1, 31, 2, 1, 80], 1.0, Some(limit));
    }
}

#[test]
fn sharp_scores_are_rescaled() {
    for head_dim in [8, 64, 128, 256] {
        check([1, 50, 2, 1, head_dim], 8.0, None);
    }
}
