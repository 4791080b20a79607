use secateur::ops::nn::{AttentionBackward, AttentionShape, attention_backward, attention_backward_with};
use secateur::reference::nn::attention::{Shape, attention as forward_twin};
use secateur::reference::nn::attention_backward::{Gradients, attention_backward as twin};

use crate::common::{Data, assert_close, devices, f64s, play, poisoned, tensor};

/// What becomes of the scores, and how the work is cut.
#[derive(Clone, Copy, Debug, Default)]
struct Extra {
    window: Option<usize>,
    soft_cap: Option<f32>,
    /// Flops per dispatch.
    limit: Option<f64>,
}

/// Checks one call; `size` scales queries and keys.
fn check(case: [usize; 5], size: f32, extra: Extra) {
    let Extra {
        window,
        soft_cap,
        limit,
    } = extra;
    let [batch, seq, heads, kv_heads, head_dim] = case;
    let (rows, width, kv_width) = (batch * seq, heads * head_dim, kv_heads * head_dim);
    let scale = 1.0 / (head_dim as f32).sqrt();
    let mut data = Data::new(9);
    let mut uniform = |n: usize, size: f32| -> Vec<f32> { data.uniform(n).iter().map(|v| v * size).collect() };
    let (q, k) = (uniform(rows * width, size), uniform(rows * kv_width, size));
    let (v, dout) = (uniform(rows * kv_width, 1.0), uniform(rows * width, 1.0));
    let plain = Shape {
        seq,
        heads,
        kv_heads,
        head_dim,
        scale: f64::from(scale),
        window,
        soft_cap: soft_cap.map(f64::from),
    };
    let exact = [&q, &k, &v, &dout].map(|x| f64s(x));
    let mut out = vec![0.0; rows * width];
    forward_twin(plain, &exact[0], &exact[1], &exact[2], &mut out);
    let sizes = [2 * heads, width, kv_width, kv_width];
    let mut wanted = sizes.map(|cols| vec![f64::NAN; rows * cols]);
    let [stats, dq, dk, dv] = &mut wanted;
    twin(
        plain,
        exact.each_ref().map(Vec::as_slice),
        Gradients { stats, dq, dk, dv },
    );
    let out: Vec<f32> = out.iter().map(|v| *v as f32).collect();
    for gpu in devices() {
        let inputs = [
            (&q, width),
            (&k, kv_width),
            (&v, kv_width),
            (&out, width),
            (&dout, width),
        ];
        let [q, k, v, out, dout] = inputs.map(|(x, cols)| tensor(gpu, rows, cols, x));
        let wholes = sizes.map(|cols| poisoned(gpu, rows + 1, cols));
        let [stats, dq, dk, dv] = &wholes.each_ref().map(|whole| whole.row_window(0, rows));
        let call = AttentionBackward {
            q: &q,
            k: &k,
            v: &v,
            out: &out,
            dout: &dout,
            stats,
            dq,
            dk,
            dv,
        };
        let shape = AttentionShape {
            seq,
            heads,
            kv_heads,
            head_dim,
            scale,
            window,
            soft_cap,
        };
        play(gpu, |r| match limit {
            None => attention_backward(r, gpu, &call, shape),
            Some(limit) => attention_backward_with(r, limit, &call, shape),
        });
        // As for attention itself; D and dout · v are sums of head_dim products that cancel against each other.
        let reach = f64::from(scale * size * size) * head_dim as f64;
        let capped = soft_cap.map_or(0.0, |cap| 8.0 * reach.min(f64::from(cap)));
        let sums = (seq as f64).sqrt() + (head_dim as f64).sqrt();
        let tolerance = f64::from(f32::EPSILON) * (16.0 + 2.0 * reach + capped + sums);
        for (name, (whole, wanted)) in ["stats", "dq", "dk", "dv"].iter().zip(wholes.iter().zip(&wanted)) {
            let found = whole.fetch(gpu).unwrap();
            let what = format!(
                "{} {shape:?} batch {batch} size {size} limit {limit:?}: {name}",
                gpu.name()
            );
            assert!(found[wanted.len()..].iter().all(|v| v.is_nan()), "{what}: guard row");
            // The only score of a sequence of one has no gradient: what is left is rounding.
            if (seq == 1 || window == Some(1)) && ["dq", "dk"].contains(name) {
                let largest = found[..wanted.len()].iter().fold(0.0f32, |a, b| a.max(b.abs()));
                let bound = tolerance * f64::from(scale * size) * head_dim as f64 * heads as f64;
                assert!(f64::from(largest) <= bound, "{what}: {largest:e} > {bound:e}");
                continue;
            }
            assert_close(&what, &found[..wanted.len()], wanted, tolerance);
        }
    }
}

/// batch, seq, heads, kv_heads, head_dim: lengths around a block (8, 4 or 2) and a host block (64), every knob value.
const CASES: [[usize; 5]; 17] = [
    [1, 1, 1, 1, 1],
    [1, 1, 2, 1, 8],
    [2, 15, 4, 2, 8],
    [1, 131, 2, 2, 8],
    [1, 8, 3, 1, 64],
    [3, 17, 3, 3, 64],
    [2, 65, 9, 3, 64],
    [1, 40, 1, 1, 5],
    [1, 33, 2, 1, 50],
    [2, 7, 2, 1, 80],
    [1, 4, 2, 2, 80],
    [2, 9, 2, 1, 100],
    [1, 33, 4, 1, 128],
    [5, 3, 1, 1, 256],
    [1, 2, 2, 1, 256],
    [2, 13, 2, 1, 256],
    [1, 9, 1, 1, 131],
];

#[test]
fn gradients_of_queries_keys_and_values() {
    for case in CASES {
        check(case, 1.0, Extra::default());
    }
}

#[test]
fn dispatches_cover_every_block_once() {
    for limit in [0.0, 2e5, 1e6] {
        for window in [None, Some(20)] {
            let extra = Extra {
                window,
                limit: Some(limit),
                ..Extra::default()
            };
            check([2, 100, 3, 1, 64], 1.0, extra);
            check([1, 31, 2, 1, 80], 1.0, extra);
        }
    }
}

#[test]
fn sharp_scores_are_rescaled() {
    for head_dim in [8, 64, 128, 256] {
        check([1, 50, 2, 1, head_dim], 8.0, Extra::default());
    }
}

#[test]
fn only_the_window_has_gradients() {
    // Around a block of each head size and of the host, one token alone, and longer than the sequence.
    for window in [1, 2, 3, 4, 5, 7, 8, 9, 17, 33, 64, 65, 130, 131, usize::MAX] {
        let extra = Extra {
            window: Some(window),
            ..Extra::default()
        };
        check([1, 131, 2, 1, 8], 2.0, extra);
        for case in [[2, 65, 3, 1, 64], [2, 33, 2, 1, 80], [1, 17, 2, 2, 256]] {
            if window <= 33 {
                check(case, 2.0, extra);
            }
        }
    }
}

#[test]
fn more_queries_than_the_host_takes_at_once() {
    for window in [None, Some(100), Some(300)] {
        check(
            [1, 600, 2, 1, 16],
            2.0,
            Extra {
                window,
                ..Extra::default()
            },
        );
    }
}

#[test]
fn capped_scores_have_smaller_slopes() {
    for soft_cap in [0.5, 5.0, 50.0] {
        for case in [
            [2, 17, 2, 1, 8],
            [1, 65, 3, 3, 64],
            [1, 33, 2, 1, 128],
            [2, 13, 2, 1, 256],
        ] {
            for window in [None, Some(6)] {
                check(
                    case,
                    2.0,
                    Extra {
                        window,
                        soft_cap: Some(soft_cap),
                        limit: None,
                    },
                );
            }
        }
    }
}
