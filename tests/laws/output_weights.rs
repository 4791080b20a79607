//! Outputs that count for more or less: the problem of scaled rows, and errors without the weights.

use secateur::gpu::Recording;
use secateur::prune::{LayerProblem, MethodOptions, Pattern, Scope, method, refit};

use super::problem::Layer;
use crate::common::{assert_close, devices, f64s, tensor};

const SHAPE: [usize; 2] = [24, 40];

fn layer(drift: f32) -> Layer {
    Layer::new(160, SHAPE[0], SHAPE[1], 300, drift)
}

/// From a tenth to ten.
fn weights() -> Vec<f64> {
    (0..SHAPE[0])
        .map(|i| 10f64.powf((i * 7 % 24) as f64 / 12.0 - 1.0))
        .collect()
}

fn half() -> Pattern {
    Pattern::unstructured(0.5, Scope::Matrix).unwrap()
}

/// With each row times the root of its weight.
fn scaled(layer: Layer) -> Layer {
    let rows = layer.weight.chunks(SHAPE[1]).zip(weights());
    let weight = rows.flat_map(|(row, g)| row.iter().map(move |w| w * g.sqrt() as f32));
    Layer {
        weight: weight.collect(),
        ..layer
    }
}

#[test]
fn it_is_the_problem_of_scaled_rows() {
    for gpu in devices() {
        for (drift, name) in [
            (0.0, "admm"),
            (0.1, "admm"),
            (0.1, "fista"),
            (0.0, "sparsegpt"),
            (0.0, "wanda"),
        ] {
            let (plain, other) = (layer(drift), scaled(layer(drift)));
            let inputs = plain.inputs(gpu);
            let problem = LayerProblem::weighted(
                gpu,
                &inputs,
                &tensor(gpu, SHAPE[0], SHAPE[1], &plain.weight),
                half(),
                &weights(),
            )
            .unwrap();
            let twin = LayerProblem::new(gpu, &inputs, SHAPE, &other.weight, half()).unwrap();
            let solver = method(name).unwrap().layerwise(&MethodOptions::default()).unwrap();
            let [found, wanted] = [&problem, &twin].map(|problem| {
                let solution = solver.solve(gpu, problem).unwrap();
                let solution = refit(gpu, problem, solution, 10).unwrap();
                let mut recording = Recording::new();
                problem.leave(&mut recording, gpu, &solution.weight).unwrap();
                gpu.submit(recording).unwrap();
                (
                    solution.weight.fetch(gpu).unwrap(),
                    solution.support.fetch(gpu).unwrap(),
                )
            });
            let what = format!("{} {name}, drift {drift}", gpu.name());
            assert_eq!(found.1, wanted.1, "{what}");
            let roots = weights().into_iter().flat_map(|g| vec![g.sqrt(); SHAPE[1]]);
            let back: Vec<f64> = f64s(&wanted.0).iter().zip(roots).map(|(v, root)| v / root).collect();
            assert_close(&what, &found.0, &back, 1e-5);
        }
    }
}

/// What methods make small is weighted; what reports tell is not.
#[test]
fn errors() {
    for gpu in devices() {
        for drift in [0.0, 0.1] {
            let (plain, other) = (layer(drift), scaled(layer(drift)));
            let inputs = plain.inputs(gpu);
            let problem = LayerProblem::weighted(
                gpu,
                &inputs,
                &tensor(gpu, SHAPE[0], SHAPE[1], &plain.weight),
                half(),
                &weights(),
            )
            .unwrap();
            let kept = |layer: &Layer| -> Vec<f32> {
                let kept = layer.weight.iter().enumerate();
                kept.map(|(i, w)| if i % 3 == 0 { 0.0 } else { 0.9 * w }).collect()
            };
            let v = tensor(gpu, SHAPE[0], SHAPE[1], &kept(&plain));
            let mut recording = Recording::new();
            problem.enter(&mut recording, gpu, &v).unwrap();
            gpu.submit(recording).unwrap();
            let found = problem.errors(gpu, &v).unwrap();
            let wanted = [other.error(&f64s(&kept(&other))), plain.error(&f64s(&kept(&plain)))];
            let energy = plain.error(&vec![0.0; SHAPE[0] * SHAPE[1]]);
            for (found, wanted) in [
                (found.objective, wanted[0]),
                (found.dense, wanted[1]),
                (problem.energy, energy),
            ] {
                assert!(
                    (found / wanted - 1.0).abs() < 1e-4,
                    "{} {drift}: {found} {wanted}",
                    gpu.name()
                );
            }
        }
    }
}
