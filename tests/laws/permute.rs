//! Permutations under N:M patterns: what they keep, that they are orders, and that they pose the same problem.

use secateur::gpu::Gpu;
use secateur::prune::{Admm, Channels, LayerProblem, Method, Pattern, Permutation, Scope};

use super::problem::Layer;
use crate::common::{devices, open};

const TWO_OF_FOUR: Pattern = Pattern::NM { n: 2, m: 4 };

fn find(gpu: &Gpu, layer: &Layer, pattern: Pattern, channels: Channels) -> Option<Permutation> {
    let inputs = layer.inputs(gpu);
    let shape = [layer.rows, layer.cols];
    Permutation::find(gpu, &inputs, shape, &layer.weight, (pattern, channels)).unwrap()
}

/// Energies `[rows, cols]` of the unstructured solution.
fn energies(gpu: &Gpu, layer: &Layer, sparsity: f64) -> Vec<f64> {
    let inputs = layer.inputs(gpu);
    let pattern = Pattern::unstructured(sparsity, Scope::Matrix).unwrap();
    let problem = LayerProblem::new(gpu, &inputs, [layer.rows, layer.cols], &layer.weight, pattern).unwrap();
    let weight = Admm::brief().kept(gpu, &problem).unwrap();
    weight.fetch(gpu).unwrap().iter().map(|v| f64::from(v * v)).collect()
}

fn kept(energy: &[f64], [n, m]: [usize; 2], order: &[usize]) -> f64 {
    let rows = energy.chunks(order.len());
    let best = |row: &[f64], group: &[usize]| -> f64 {
        let mut values: Vec<f64> = group.iter().map(|i| row[*i]).collect();
        values.sort_by(|a, b| b.total_cmp(a));
        values[..n].iter().sum()
    };
    let all: f64 = rows
        .map(|row| order.chunks(m).map(|group| best(row, group)).sum::<f64>())
        .sum();
    all / energy.iter().sum::<f64>()
}

/// All orders of `n` numbers.
fn orders(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let shorter = orders(n - 1);
    let insert = |order: &Vec<usize>, at: usize| [&order[..at], &[n - 1], &order[at..]].concat();
    shorter
        .iter()
        .flat_map(|order| (0..n).map(move |at| insert(order, at)))
        .collect()
}

/// With two groups of two or three, one exchange reaches every division: the search must find the best.
#[test]
fn the_best_of_two_groups() {
    for gpu in devices() {
        for (n, m) in [(1, 2), (1, 3), (2, 3)] {
            let mut better = 0;
            for seed in 0..4 {
                let layer = Layer::new(100 + seed, 7, 2 * m, 60, 0.0);
                let energy = energies(gpu, &layer, 1.0 - n as f64 / m as f64);
                let best = orders(2 * m)
                    .iter()
                    .map(|o| kept(&energy, [n, m], o))
                    .fold(0.0, f64::max);
                let own = kept(&energy, [n, m], &(0..2 * m).collect::<Vec<_>>());
                let found = find(gpu, &layer, Pattern::NM { n, m }, Channels::all(2 * m));
                let what = format!("{} {n}:{m} seed {seed}", gpu.name());
                match found {
                    None => assert!(best - own < 1e-5, "{what}: {own} is not the best, {best}"),
                    Some(found) => {
                        let order: Vec<usize> = found.inputs.iter().map(|i| *i as usize).collect();
                        let keeps = kept(&energy, [n, m], &order);
                        assert!((keeps - best).abs() < 1e-5, "{what}: {keeps} of {best}");
                        assert!((found.kept[0] - own).abs() < 1e-5 && (found.kept[1] - best).abs() < 1e-5);
                        better += 1;
                    }
                }
            }
            assert!(better > 0, "{} {n}:{m}: nothing was tried", gpu.name());
        }
    }
}

/// An order of all inputs that keeps more; within heads where these must stay together.
#[test]
fn orders_that_keep_more() {
    for gpu in devices() {
        let layer = Layer::new(5, 24, 96, 300, 0.1);
        let heads = Channels {
            segments: 3,
            copies: 2,
            width: 16,
        };
        let energy = energies(gpu, &layer, 0.5);
        for channels in [Channels::all(96), heads] {
            let found = find(gpu, &layer, TWO_OF_FOUR, channels).unwrap();
            let mut sorted = found.inputs.clone();
            sorted.sort_unstable();
            assert!(sorted.iter().enumerate().all(|(i, input)| i == *input as usize));
            let order: Vec<usize> = found.inputs.iter().map(|i| *i as usize).collect();
            let keeps = kept(&energy, [2, 4], &order);
            assert!(
                found.kept[1] > found.kept[0] && (keeps - found.kept[1]).abs() < 1e-4,
                "{:?} {keeps}",
                found.kept
            );
            let Channels {
                segments,
                copies,
                width,
            } = channels;
            assert_eq!(found.channels.len(), segments * width);
            for (i, input) in order.iter().enumerate() {
                let (part, place) = (i / width, i % width);
                let channel = found.channels[part / copies * width + place] as usize;
                assert_eq!(*input, part * width + channel % width, "input {i}");
                assert_eq!(channel / width, part / copies, "channel of input {i}");
            }
        }
        // Heads that do not hold whole groups.
        let odd = Channels {
            segments: 16,
            copies: 1,
            width: 6,
        };
        assert!(find(gpu, &layer, TWO_OF_FOUR, odd).is_none());
    }
}

/// In another order the problem is the same one, and at its best order N:M solutions lose less all in all.
#[test]
fn the_same_problem_in_another_order() {
    let small = open("cpu", Some(6000));
    for gpu in devices().iter().chain([&small]) {
        let (mut before, mut after) = (0.0, 0.0);
        for seed in 8..12 {
            let layer = Layer::new(seed, 12, 64, 400, 0.1);
            let losses = losses_of_both_orders(gpu, &layer);
            before += losses[0];
            after += losses[1];
        }
        assert!(after < before, "{}: {before} -> {after}", gpu.name());
    }
}

/// Relative losses in a layer's own order and in the best one.
fn losses_of_both_orders(gpu: &Gpu, layer: &Layer) -> [f64; 2] {
    let shape = [layer.rows, layer.cols];
    let own = layer.inputs(gpu);
    let problem = LayerProblem::new(gpu, &own, shape, &layer.weight, TWO_OF_FOUR).unwrap();
    let before = Admm::default().solve(gpu, &problem).unwrap();
    let found = find(gpu, layer, TWO_OF_FOUR, Channels::all(layer.cols)).unwrap();

    let permuted = layer.inputs(gpu).permuted(gpu, &found.inputs).unwrap();
    let weight = bytemuck::pod_collect_to_vec::<_, f32>(&found.gather(bytemuck::cast_slice(&layer.weight), 4));
    let other = LayerProblem::new(gpu, &permuted, shape, &weight, TWO_OF_FOUR).unwrap();
    assert!(
        (other.energy / problem.energy - 1.0).abs() < 1e-5,
        "{}: energies",
        gpu.name()
    );
    let candidate = bytemuck::pod_collect_to_vec::<_, f32>(
        &found.gather(bytemuck::cast_slice(&before.weight.fetch(gpu).unwrap()), 4),
    );
    let candidate = crate::common::tensor(gpu, shape[0], shape[1], &candidate);
    let [a, b] = [problem.errors(gpu, &before.weight), other.errors(gpu, &candidate)].map(Result::unwrap);
    for (a, b) in [(a.objective, b.objective), (a.dense, b.dense)] {
        assert!((a - b).abs() < 1e-5 * problem.energy, "{}: {a} became {b}", gpu.name());
    }
    let after = Admm::default().solve(gpu, &other).unwrap();
    [before.error, after.error].map(|error| error / problem.energy)
}
