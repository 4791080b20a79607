use secateur::gpu::Gpu;
use secateur::ops::nn::{cross_entropy, cross_entropy_backward};
use secateur::reference::nn::cross_entropy::cross_entropy as forward_twin;
use secateur::reference::nn::cross_entropy_backward::cross_entropy_backward as twin;

use super::cross_entropy::columns;
use crate::common::{Data, assert_close, devices, f64s, play, poisoned, tensor};

/// Two passes over the tiles, as the head makes them.
fn check(gpu: &Gpu, rows: usize, tiles: &[usize]) {
    let cols: usize = tiles.iter().sum();
    let mut data = Data::new(6);
    let logits: Vec<f32> = data.normal(rows * cols).iter().map(|v| v * 4.0).collect();
    let mut targets = data.below(cols as u32, rows);
    let mut factors = data.uniform(rows);
    if rows > 2 {
        (targets[1], factors[2]) = (u32::MAX, 0.0);
    }
    let ids = gpu.upload("targets", bytemuck::cast_slice(&targets)).unwrap().slice();
    let factors_tensor = tensor(gpu, rows, 1, &factors);
    let state = poisoned(gpu, rows, 4);
    let firsts: Vec<usize> = tiles
        .iter()
        .scan(0, |sum, n| Some(std::mem::replace(sum, *sum + n)))
        .collect();
    // A row of NaN after each tile: its guard.
    let wholes: Vec<_> = firsts
        .iter()
        .zip(tiles)
        .map(|(first, count)| {
            let mut tile = columns(&logits, cols, *first, *count);
            tile.extend(vec![f32::NAN; *count]);
            tensor(gpu, rows + 1, *count, &tile)
        })
        .collect();
    play(gpu, |r| {
        for (whole, first) in wholes.iter().zip(&firsts) {
            cross_entropy(r, &whole.row_window(0, rows), &ids, *first, &state);
        }
        for (whole, first) in wholes.iter().zip(&firsts) {
            cross_entropy_backward(r, [&state, &factors_tensor], &ids, *first, &whole.row_window(0, rows));
        }
    });
    let mut wanted = f64s(&logits);
    for (row, wanted) in wanted.chunks_mut(cols).enumerate() {
        let mut state = [0.0; 4];
        forward_twin(wanted, targets[row] as usize, 0, &mut state);
        twin(&state, targets[row], f64::from(factors[row]), 0, wanted);
    }
    let as_f32: Vec<f32> = wanted.iter().map(|v| *v as f32).collect();
    for ((whole, first), count) in wholes.iter().zip(&firsts).zip(tiles) {
        let found = whole.fetch(gpu).unwrap();
        let what = format!("{} {rows} rows, tiles {tiles:?} at {first}", gpu.name());
        let wanted = f64s(&columns(&as_f32, cols, *first, *count));
        // As the sum of exponentials; a softmax near one less one is off by that much of one.
        let tolerance = f64::from(f32::EPSILON) * (24.0 + (cols as f64 / 64.0).sqrt());
        assert_close(&what, &found[..rows * count], &wanted, tolerance);
        assert!(found[rows * count..].iter().all(|v| v.is_nan()), "{what}: guard row");
    }
}

#[test]
fn softmax_less_the_target_tile_by_tile() {
    for gpu in devices() {
        check(gpu, 3, &[1, 1, 2]);
        check(gpu, 64, &[63, 64, 65]);
        check(gpu, 131, &[131]);
        check(gpu, 5, &[1000, 1000, 777]);
        check(gpu, 65_537, &[64, 1]);
    }
}

#[test]
fn rows_without_a_target_or_factor_are_zero_whatever_they_hold() {
    for gpu in devices() {
        let logits = tensor(gpu, 2, 2, &[f32::NAN, f32::INFINITY, f32::NAN, 1.0]);
        let state = poisoned(gpu, 2, 4);
        let ids = gpu
            .upload("targets", bytemuck::cast_slice(&[u32::MAX, 1]))
            .unwrap()
            .slice();
        let factors = tensor(gpu, 2, 1, &[1.0, 0.0]);
        play(gpu, |r| cross_entropy_backward(r, [&state, &factors], &ids, 0, &logits));
        assert_eq!(logits.fetch(gpu).unwrap(), [0.0; 4], "{}", gpu.name());
    }
}
