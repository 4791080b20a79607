use secateur::gpu::{GpuOptions, Kernel};
use secateur::ops::nn::{ATTENTION, ATTENTION_HALF, AttentionShape, attention, attention_with};
use secateur::reference::nn::attention::{Shape, attention as twin};

use crate::common::{Data, assert_close, devices, f64s, play, poisoned, reopen, tensor};

/// What becomes of the scores, and how the work is cut.
#[derive(Clone, Copy, Debug, Default)]
struct Extra {
    window: Option<usize>,
    soft_cap: Option<f32>,
    /// Flops per dispatch.
    limit: Option<f64>,
    /// Blocks in 16 bits.
    half: bool,
}

/// Checks one call; `size` scales queries and keys.
fn check(case: [usize; 5], size: f32, extra: Extra) {
    let Extra {
        window,
        soft_cap,
        limit,
        half,
    } = extra;
    let kernel: &'static Kernel = if half { &ATTENTION_HALF } else { &ATTENTION };
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
        window,
        soft_cap: soft_cap.map(f64::from),
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
            window,
            soft_cap,
        };
        play(gpu, |r| match limit {
            None if !half => attention(r, gpu, &q, &k, &v, &out, shape),
            limit => attention_with(r, (kernel, limit.unwrap_or(1e12)), [&q, &k, &v], &out, shape),
        });
        let found = whole.fetch(gpu).unwrap();
        let what = format!(
            "{} {shape:?} batch {batch} size {size} limit {limit:?} half {half}",
            gpu.name()
        );
        // A score is a sum of at most `reach`, and its absolute error is a weight's relative error.
        let reach = f64::from(scale * size * size) * head_dim as f64;
        // A cap's tangent is right to 8 ulp of the score.
        let capped = soft_cap.map_or(0.0, |cap| 8.0 * reach.min(f64::from(cap)));
        // Two factors of a score, then a value; conversion may cut.
        let halves = if half {
            2f64.powi(-10) * (2.0 + 4.0 * reach)
        } else {
            0.0
        };
        let tolerance = f64::from(f32::EPSILON) * (8.0 + reach + capped + (seq as f64).sqrt()) + halves;
        assert_close(&what, &found[..rows * width], &wanted, tolerance);
        assert!(found[rows * width..].iter().all(|v| v.is_nan()), "{what}: guard row");
    }
}

/// batch, seq, heads, kv_heads, head_dim: lengths around a block (16, 8 or 4) and a host block (64), every knob value.
const CASES: [[usize; 5]; 18] = [
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
    [1, 37, 2, 1, 129],
];

#[test]
fn weighted_mean_of_earlier_values() {
    for case in CASES {
        check(case, 1.0, Extra::default());
    }
}

#[test]
fn blocks_in_16_bits() {
    for case in CASES {
        let half = Extra {
            half: true,
            ..Extra::default()
        };
        check(case, 1.0, half);
        let window = Extra {
            window: Some(5),
            soft_cap: Some(2.0),
            ..half
        };
        check(case, 1.0, window);
        check(
            case,
            1.0,
            Extra {
                limit: Some(2e5),
                ..half
            },
        );
    }
}

/// What halves cannot hold becomes their largest number; and the device's option chooses the kernel.
#[test]
fn values_beyond_halves_are_cut() {
    for gpu in devices() {
        let options = GpuOptions {
            half_attention: true,
            ..GpuOptions::default()
        };
        let gpu = reopen(gpu, options);
        let (one, huge) = (tensor(&gpu, 2, 8, &[0.0; 16]), tensor(&gpu, 2, 8, &[1e6; 16]));
        let out = poisoned(&gpu, 2, 8);
        let shape = AttentionShape {
            seq: 2,
            heads: 1,
            kv_heads: 1,
            head_dim: 8,
            scale: 1.0,
            window: None,
            soft_cap: None,
        };
        play(&gpu, |r| attention(r, &gpu, &one, &huge, &huge, &out, shape));
        assert_eq!(out.fetch(&gpu).unwrap(), [65504.0; 16], "{}", gpu.name());
        // What is not finite stays so, for its own column.
        for lost in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = [1.0; 16];
            values[3] = lost;
            let v = tensor(&gpu, 2, 8, &values);
            play(&gpu, |r| attention(r, &gpu, &one, &one, &v, &out, shape));
            let finite: Vec<bool> = out.fetch(&gpu).unwrap().iter().map(|v| v.is_finite()).collect();
            let wanted: Vec<bool> = (0..16).map(|at| at % 8 != 3).collect();
            assert_eq!(finite, wanted, "{lost} on {}", gpu.name());
        }
    }
}

#[test]
fn dispatches_cover_every_query_block_once() {
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
fn only_the_window_is_seen() {
    // Around a block of each head size and of the host, one token alone, and longer than the sequence.
    for window in [1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 33, 64, 65, 130, 131, usize::MAX] {
        let extra = Extra {
            window: Some(window),
            ..Extra::default()
        };
        check([1, 131, 2, 1, 8], 4.0, extra);
        for case in [[2, 65, 3, 1, 64], [2, 33, 2, 1, 80], [1, 17, 2, 2, 256]] {
            if window <= 33 {
                check(case, 4.0, extra);
            }
        }
    }
}

#[test]
fn a_token_attends_to_itself_alone_in_a_window_of_one() {
    for gpu in devices() {
        let x = Data::new(1).uniform(37 * 8);
        let q = tensor(gpu, 37, 8, &x);
        let out = poisoned(gpu, 37, 8);
        let shape = AttentionShape {
            seq: 37,
            heads: 1,
            kv_heads: 1,
            head_dim: 8,
            scale: 100.0,
            window: Some(1),
            soft_cap: None,
        };
        play(gpu, |r| attention(r, gpu, &q, &q, &q, &out, shape));
        assert_eq!(out.fetch(gpu).unwrap(), x, "{}", gpu.name());
    }
}

#[test]
fn scores_far_below_zero_outweigh_the_unseen() {
    // Keys against queries give scores of -8e5; before the window lie keys with scores of 8e5.
    for gpu in devices() {
        let (seq, window) = (50, 7);
        let q = tensor(gpu, seq, 8, &vec![1e3; seq * 8]);
        let keys: Vec<f32> = (0..seq * 8).map(|i| if i / 8 < 20 { 100.0 } else { -100.0 }).collect();
        let values: Vec<f32> = (0..seq * 8).map(|i| (i / 8) as f32).collect();
        let (k, v) = (tensor(gpu, seq, 8, &keys), tensor(gpu, seq, 8, &values));
        let out = poisoned(gpu, seq, 8);
        let shape = AttentionShape {
            seq,
            heads: 1,
            kv_heads: 1,
            head_dim: 8,
            scale: 1.0,
            window: Some(window),
            soft_cap: None,
        };
        play(gpu, |r| attention(r, gpu, &q, &k, &v, &out, shape));
        // From 26 on a window holds equal scores: the mean of seven positions.
        let found = out.fetch(gpu).unwrap()[26 * 8..].to_vec();
        let wanted: Vec<f64> = (26 * 8..seq * 8).map(|i| (i / 8) as f64 - 3.0).collect();
        assert_close(gpu.name(), &found, &wanted, 8.0 * f64::from(f32::EPSILON));
    }
}

#[test]
fn scores_are_capped() {
    for soft_cap in [0.5, 5.0, 50.0] {
        for case in [
            [2, 17, 2, 1, 8],
            [1, 65, 3, 3, 64],
            [1, 33, 2, 1, 128],
            [2, 13, 2, 1, 256],
        ] {
            for window in [None, Some(6)] {
                let extra = Extra {
                    window,
                    soft_cap: Some(soft_cap),
                    limit: None,
                    ..Extra::default()
                };
                check(case, 8.0, extra);
            }
        }
    }
}
