use secateur::prune::{Awp, LayerProblem, Method, Pattern, Scope, Wanda};

use super::problem::Layer;
use crate::common::{devices, f64s};

fn patterns() -> [Pattern; 3] {
    [
        Pattern::unstructured(0.5, Scope::Matrix).unwrap(),
        Pattern::unstructured(0.7, Scope::Row).unwrap(),
        Pattern::NM { n: 2, m: 4 },
    ]
}

#[test]
fn more_steps_never_cost_more_and_beat_wanda() {
    for gpu in devices() {
        for drift in [0.0, 0.2] {
            let layer = Layer::new(5, 20, 40, 500, drift);
            let inputs = layer.inputs(gpu);
            for pattern in patterns() {
                let problem =
                    LayerProblem::new(gpu, &inputs, [layer.rows, layer.cols], &layer.weight, pattern).unwrap();
                let mut before = Wanda.solve(gpu, &problem).unwrap().error;
                let wanda = before;
                for steps in [1, 5, 50] {
                    let solution = Awp { steps }.solve(gpu, &problem).unwrap();
                    let what = format!("{} {pattern}, drift {drift}, {steps} steps", gpu.name());
                    assert!(
                        solution.error <= before * (1.0 + 1e-5),
                        "{what}: {} after {before}",
                        solution.error
                    );
                    let kept = solution.support.fetch(gpu).unwrap();
                    let kept = kept.iter().filter(|s| **s == 1.0).count();
                    assert_eq!(kept, pattern.kept(layer.rows, layer.cols), "{what}");
                    before = solution.error;
                }
                assert!(
                    before < 0.95 * wanda,
                    "{} {pattern}: {before}, Wanda {wanda}",
                    gpu.name()
                );
            }
        }
    }
}

/// The same descent in f64.
#[test]
fn a_plain_descent_ends_at_the_same_error() {
    const STEPS: usize = 30;
    for gpu in devices() {
        let layer = Layer::new(6, 16, 32, 400, 0.0);
        let (inputs, oracle) = (layer.inputs(gpu), layer.oracle());
        for pattern in [patterns()[0], patterns()[2]] {
            let problem = LayerProblem::new(gpu, &inputs, [layer.rows, layer.cols], &layer.weight, pattern).unwrap();
            let group = match pattern {
                Pattern::NM { m, .. } => m,
                _ => layer.rows * layer.cols,
            };
            let project = |v: &mut [f64]| {
                for group in v.chunks_mut(group) {
                    let mut sizes: Vec<f64> = group.iter().map(|v| v.abs()).collect();
                    sizes.sort_by(f64::total_cmp);
                    let least = sizes[sizes.len() / 2];
                    group.iter_mut().filter(|v| v.abs() < least).for_each(|v| *v = 0.0);
                }
            };
            let step = 1.0 / inputs.lipschitz(gpu).unwrap();
            let mut v = f64s(&problem.weight.fetch(gpu).unwrap());
            project(&mut v);
            for _ in 0..STEPS {
                let gradient = oracle.gradient(&v);
                v.iter_mut().zip(gradient).for_each(|(v, g)| *v -= step * g);
                project(&mut v);
            }
            let wanted = layer.error(&oracle.unscale(&v));
            let found = Awp { steps: STEPS }.solve(gpu, &problem).unwrap().error;
            // A tie or two may fall otherwise in f32.
            assert!(
                (found / wanted - 1.0).abs() < 0.01,
                "{} {pattern}: {found} instead of {wanted}",
                gpu.name()
            );
        }
    }
}
