use secateur::gpu::Gpu;
use secateur::ops::nn::divergence;
use secateur::reference::nn::divergence::divergence as twin;

use super::cross_entropy::{column, columns};
use crate::common::{Data, assert_close, devices, f64s, play, poisoned, tensor};

fn check(gpu: &Gpu, rows: usize, tiles: &[usize], step: f32) {
    let cols: usize = tiles.iter().sum();
    let mut data = Data::new(7);
    let mut logits = |scale: f32| -> Vec<f32> {
        data.normal(rows * cols)
            .iter()
            .map(|v| (v * scale / step).round() * step)
            .collect()
    };
    let (p, q) = (logits(4.0), logits(3.0));
    let whole = poisoned(gpu, rows + 1, 8);
    let state = whole.row_window(0, rows);
    let mut first = 0;
    play(gpu, |r| {
        for &count in tiles {
            let tile = |values: &[f32]| tensor(gpu, rows, count, &columns(values, cols, first, count));
            divergence(r, &tile(&p), &tile(&q), first, &state);
            first += count;
        }
    });
    let mut wanted = vec![0.0; rows * 8];
    for ((p, q), state) in f64s(&p)
        .chunks(cols)
        .zip(f64s(&q).chunks(cols))
        .zip(wanted.chunks_mut(8))
    {
        twin(p, q, 0, state);
    }
    let found = whole.fetch(gpu).unwrap();
    let what = format!("{} {rows} rows, tiles {tiles:?}, step {step}", gpu.name());
    assert!(found[rows * 8..].iter().all(|v| v.is_nan()), "{what}: guard row");
    // Sums as in cross_entropy; the terms of the cross sum have both signs.
    let tolerance = f64::from(f32::EPSILON) * (8.0 + (cols as f64 / 64.0).sqrt());
    let tolerances = [0.0, tolerance, 0.0, tolerance, 2.0 * tolerance, 0.0, 0.0, 0.0];
    for (col, tolerance) in tolerances.into_iter().enumerate() {
        let found = column(&found[..rows * 8], 8, col);
        assert_close(
            &format!("{what}: column {col}"),
            &found,
            &column(&wanted, 8, col),
            tolerance,
        );
    }
}

#[test]
fn tiles_merge_to_the_whole_vocabulary() {
    for gpu in devices() {
        for step in [1e-3, 2.0] {
            check(gpu, 1, &[1], step);
            check(gpu, 3, &[1, 1, 2], step);
            check(gpu, 64, &[63, 64, 65], step);
            check(gpu, 131, &[131], step);
            check(gpu, 5, &[1000, 1000, 777], step);
        }
        check(gpu, 65_537, &[2, 1], 1e-3);
    }
}

/// KL(P‖Q) as a caller computes it from the state.
fn from_state(s: &[f32]) -> f64 {
    let s = f64s(s);
    s[4] / s[1] - (s[0] + s[1].ln()) + (s[2] + s[3].ln())
}

#[test]
fn state_gives_the_divergence() {
    const COLS: usize = 300;
    for gpu in devices() {
        let mut data = Data::new(8);
        let p = data.normal(2 * COLS);
        let noise = data.normal(2 * COLS);
        for size in [0.0f32, 0.01, 1.0] {
            let q: Vec<f32> = p.iter().zip(&noise).map(|(p, n)| p + size * n + 3.0).collect();
            let state = poisoned(gpu, 2, 8);
            play(gpu, |r| {
                for (first, count) in [(0, 100), (100, 200)] {
                    let tile = |values: &[f32]| tensor(gpu, 2, count, &columns(values, COLS, first, count));
                    divergence(r, &tile(&p), &tile(&q), first, &state);
                }
            });
            let rows = state.fetch(gpu).unwrap();
            for ((p, q), state) in p.chunks(COLS).zip(q.chunks(COLS)).zip(rows.chunks(8)) {
                let log_softmax = |x: &[f32]| -> Vec<f64> {
                    let sum: f64 = f64s(x).iter().map(|v| v.exp()).sum();
                    f64s(x).iter().map(|v| v - sum.ln()).collect()
                };
                let (p, q) = (log_softmax(p), log_softmax(q));
                let wanted: f64 = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum();
                let error = (from_state(state) - wanted).abs();
                // Differences of numbers near 10, each rounded a few times.
                let bound = 10.0 * 16.0 * f64::from(f32::EPSILON);
                assert!(error <= bound, "{} noise {size}: {wanted}, off by {error}", gpu.name());
            }
        }
    }
}
