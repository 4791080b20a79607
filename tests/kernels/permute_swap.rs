use secateur::gpu::Gpu;
use secateur::ops::prox::{self, PermuteSwap};
use secateur::reference::prox::permute_swap::{Swap, permute_swap};

use crate::common::{Data, assert_close, devices, f64s, play, poisoned, tensor};

const PATTERNS: [[usize; 2]; 6] = [[1, 2], [2, 4], [1, 3], [4, 8], [5, 7], [9, 16]];

/// What the groups at the places of `order` keep, by sorting.
fn kept([keep, size]: [usize; 2], rows: usize, energy: &[f64], order: &[u32]) -> f64 {
    let best = |group: &[u32], row: usize| -> f64 {
        let mut values: Vec<f64> = group.iter().map(|c| energy[*c as usize * rows + row]).collect();
        values.sort_by(|a, b| b.total_cmp(a));
        values[..keep].iter().sum()
    };
    let groups = order.chunks(size);
    groups
        .map(|group| (0..rows).map(|row| best(group, row)).sum::<f64>())
        .sum()
}

fn twin([keep, size]: [usize; 2], rows: usize, energy: &[f64], order: &[u32], [a, b]: [u32; 2]) -> Swap<f64> {
    let of = |group: u32| -> Vec<&[f64]> {
        let channels = order[group as usize * size..][..size].iter();
        channels.map(|c| &energy[*c as usize * rows..][..rows]).collect()
    };
    permute_swap(keep, &of(a), &if a == b { Vec::new() } else { of(b) })
}

struct Round {
    order: Vec<u32>,
    sums: Vec<f32>,
}

fn round(gpu: &Gpu, pattern: [usize; 2], energy: &[f32], [order, pairs]: [&[u32]; 2], swaps: bool) -> Round {
    let (channels, count) = (order.len(), pairs.len() / 2);
    let energy = tensor(gpu, channels, energy.len() / channels, energy);
    // A pair before those of the round, and a place after the last.
    let list = [&[9, 9][..], pairs].concat();
    let list = gpu.upload("pairs", bytemuck::cast_slice(&list)).unwrap().slice();
    let guarded = [order, &[77]].concat();
    let places = gpu.upload("order", bytemuck::cast_slice(&guarded)).unwrap();
    let sums = poisoned(gpu, 2, count);
    play(gpu, |recording| {
        let call = PermuteSwap {
            energy: &energy,
            pattern,
            pairs: &list,
            first: 1,
            swaps,
        };
        prox::permute_swap(recording, &call, &places.window(0, 4 * channels as u64), &sums);
    });
    let mut order = gpu.fetch(&places.slice()).unwrap();
    assert_eq!(order.pop(), Some(77), "{}: guard", gpu.name());
    let sums = sums.fetch(gpu).unwrap();
    Round { order, sums }
}

/// Sums and gains are those of the twin, and the exchange that was made brings what it promised.
#[test]
fn equals_the_twin() {
    for gpu in devices() {
        for pattern @ [_, size] in PATTERNS {
            for (rows, groups) in [(1, 2), (63, 5), (256 / size, 4), (257, 3), (1031, 6)] {
                let mut data = Data::new(31);
                let channels = size * groups;
                // Loud and quiet channels.
                let energy: Vec<f32> = (data.uniform(channels * rows).iter().enumerate())
                    .map(|(i, v)| v * v / (1.0 + (i / rows % 7) as f32))
                    .collect();
                let exact = f64s(&energy);
                let order: Vec<u32> = (0..channels as u32).rev().collect();
                let half = groups as u32 / 2;
                let mut pairs: Vec<u32> = (0..half).flat_map(|i| [i, half + i]).collect();
                if groups % 2 == 1 {
                    pairs.extend([groups as u32 - 1; 2]);
                }
                let what = format!("{} {pattern:?} {rows} rows, {groups} groups", gpu.name());
                let done = round(gpu, pattern, &energy, [&order, &pairs], true);
                let wanted: Vec<Swap<f64>> = (pairs.chunks(2))
                    .map(|p| twin(pattern, rows, &exact, &order, [p[0], p[1]]))
                    .collect();
                let bound = f64::from(f32::EPSILON) * (rows * size) as f64;
                let total: Vec<f64> = wanted.iter().map(|s| s.kept).collect();
                let (found, gains) = done.sums.split_at(wanted.len());
                assert_close(&what, found, &total, bound);
                for ((swap, gain), pair) in wanted.iter().zip(gains).zip(pairs.chunks(2)) {
                    let best = if pair[0] == pair[1] { 0.0 } else { swap.gain };
                    let slack = bound.max(2e-6) * swap.kept;
                    assert!(
                        (f64::from(*gain) - best.max(0.0)).abs() <= slack,
                        "{what}: {gain} of {best}"
                    );
                }
                let [before, after] = [&order, &done.order].map(|o| kept(pattern, rows, &exact, o));
                let gained: f64 = gains.iter().map(|g| f64::from(*g)).sum();
                assert!(
                    (after - before - gained).abs() <= bound * before,
                    "{what}: {before} + {gained} -> {after}"
                );
                let mut sorted = done.order.clone();
                sorted.sort_unstable();
                assert!(
                    sorted.iter().enumerate().all(|(i, c)| i == *c as usize),
                    "{what}: {:?}",
                    done.order
                );
                let still = round(gpu, pattern, &energy, [&order, &pairs], false);
                assert_eq!(
                    (still.order, &still.sums[..wanted.len()]),
                    (order, found),
                    "{what}: only sums"
                );
            }
        }
    }
}

/// The twin finds what trying every exchange finds.
#[test]
fn the_twin_tries_all() {
    for pattern @ [_, size] in PATTERNS {
        let mut data = Data::new(32);
        let energy: Vec<f64> = f64s(&data.uniform(2 * size * 5)).iter().map(|v| v * v).collect();
        let order: Vec<u32> = (0..2 * size as u32).collect();
        let before = kept(pattern, 5, &energy, &order);
        let gain = |i: usize, j: usize| {
            let mut other = order.clone();
            other.swap(i, size + j);
            kept(pattern, 5, &energy, &other) - before
        };
        let swap = twin(pattern, 5, &energy, &order, [0, 1]);
        let all = (0..size * size).map(|s| gain(s / size, s % size));
        assert!((swap.kept - before).abs() < 1e-12 * before);
        assert!((swap.gain - gain(swap.members[0], swap.members[1])).abs() < 1e-12 * before);
        assert!((swap.gain - all.fold(f64::NEG_INFINITY, f64::max)).abs() < 1e-12 * before);
    }
}

/// Channels that are alike stay where they are.
#[test]
fn nothing_is_gained_by_rounding() {
    for gpu in devices() {
        let energy = [0.1f32; 16 * 300];
        let order: Vec<u32> = (0..16).collect();
        let done = round(gpu, [2, 4], &energy, [&order, &[0, 3, 2, 1]], true);
        assert_eq!((done.order, &done.sums[2..]), (order, &[0.0; 2][..]), "{}", gpu.name());
    }
}
