use secateur::gpu::Gpu;
use secateur::ops::nn::cross_entropy;
use secateur::reference::nn::cross_entropy::cross_entropy as twin;

use crate::common::{Data, assert_close, devices, f64s, play, poisoned, tensor};

/// Columns `first .. first + count` of a row-major matrix.
pub(super) fn columns(values: &[f32], cols: usize, first: usize, count: usize) -> Vec<f32> {
    values
        .chunks(cols)
        .flat_map(|row| row[first..first + count].to_vec())
        .collect()
}

/// Column `col` of a state.
pub(super) fn column<T: Copy>(state: &[T], width: usize, col: usize) -> Vec<T> {
    state.iter().skip(col).step_by(width).copied().collect()
}

fn check(gpu: &Gpu, rows: usize, tiles: &[usize], step: f32) {
    let cols: usize = tiles.iter().sum();
    let mut data = Data::new(6);
    // Multiples of `step`: a coarse one makes ties, inside tiles and across them.
    let logits: Vec<f32> = data
        .normal(rows * cols)
        .iter()
        .map(|v| (v * 4.0 / step).round() * step)
        .collect();
    let targets = data.below(cols as u32, rows);
    let targets_buffer = gpu.upload("targets", bytemuck::cast_slice(&targets)).unwrap().slice();
    let whole = poisoned(gpu, rows + 1, 4);
    let state = whole.row_window(0, rows);
    let mut first = 0;
    play(gpu, |r| {
        for &count in tiles {
            let tile = tensor(gpu, rows, count, &columns(&logits, cols, first, count));
            cross_entropy(r, &tile, &targets_buffer, first, &state);
            first += count;
        }
    });
    let mut wanted = vec![0.0; rows * 4];
    for ((row, target), state) in f64s(&logits).chunks(cols).zip(&targets).zip(wanted.chunks_mut(4)) {
        twin(row, *target as usize, 0, state);
    }
    let found = whole.fetch(gpu).unwrap();
    let what = format!("{} {rows} rows, tiles {tiles:?}, step {step}", gpu.name());
    assert!(found[rows * 4..].iter().all(|v| v.is_nan()), "{what}: guard row");
    // Only the sum is rounded: per lane and tile cols / 64 + 6 additions, and exp to 3 + 2 |x| ulp.
    let tolerance = f64::from(f32::EPSILON) * (8.0 + (cols as f64 / 64.0).sqrt());
    for (col, (name, tolerance)) in [("max", 0.0), ("sum", tolerance), ("target", 0.0), ("id", 0.0)]
        .iter()
        .enumerate()
    {
        let found = column(&found[..rows * 4], 4, col);
        assert_close(&format!("{what}: {name}"), &found, &column(&wanted, 4, col), *tolerance);
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

#[test]
fn first_id_wins_ties_and_huge_logits_are_safe() {
    for gpu in devices() {
        let targets = gpu.upload("targets", bytemuck::cast_slice(&[3u32])).unwrap().slice();
        let state = poisoned(gpu, 1, 4);
        let tiles = [[-1e4f32, 5e3, 5e3], [5e3, 5e3, -1e4]].map(|t| tensor(gpu, 1, 3, &t));
        play(gpu, |r| {
            cross_entropy(r, &tiles[0], &targets, 0, &state);
            cross_entropy(r, &tiles[1], &targets, 3, &state);
        });
        assert_close(gpu.name(), &state.fetch(gpu).unwrap(), &[5e3, 4.0, 5e3, 1.0], 0.0);
    }
}
