use secateur::prune::{Fista, LayerProblem, Method, Pattern, Scope, Wanda, lasso, refit};

use super::problem::Layer;
use crate::common::{assert_close, devices, f64s};

fn patterns() -> [Pattern; 3] {
    [
        Pattern::unstructured(0.5, Scope::Matrix).unwrap(),
        Pattern::unstructured(0.7, Scope::Row).unwrap(),
        Pattern::NM { n: 2, m: 4 },
    ]
}

/// Relative KKT residual of the LASSO at `v`: distance of `-gradient` from the subdifferential of the penalty.
fn kkt(gradient: &[f64], v: &[f64], lambda: f64) -> f64 {
    let violation = gradient.iter().zip(v).map(|(g, v)| {
        if *v == 0.0 {
            (g.abs() - lambda).max(0.0)
        } else {
            (g + lambda * v.signum()).abs()
        }
    });
    violation.fold(0.0, f64::max) / lambda
}

#[test]
fn lasso_reaches_its_optimality_conditions() {
    for gpu in devices() {
        let layer = Layer::new(3, 24, 48, 600, 0.1);
        let inputs = layer.inputs(gpu);
        let problem = LayerProblem::new(gpu, &inputs, [layer.rows, layer.cols], &layer.weight, patterns()[0]).unwrap();
        let (lambda, oracle) = (0.3, layer.oracle());
        let v = f64s(&lasso(gpu, &problem, lambda, 1500).unwrap().fetch(gpu).unwrap());
        let residual = kkt(&oracle.gradient(&v), &v, lambda * problem.unit);
        let zeros = v.iter().filter(|v| **v == 0.0).count();
        eprintln!(
            "{}: KKT residual {residual:.2e} of lambda, {zeros} of {} zero",
            gpu.name(),
            v.len()
        );
        assert!(residual < 1e-3, "{}: KKT residual {residual}", gpu.name());
        assert!(zeros > v.len() / 20, "the penalty must make zeros, found {zeros}");
    }
}

#[test]
fn reported_errors_are_those_of_the_tokens() {
    for gpu in devices() {
        for drift in [0.0, 0.2] {
            let layer = Layer::new(4, 20, 40, 500, drift);
            let inputs = layer.inputs(gpu);
            for pattern in patterns() {
                let problem =
                    LayerProblem::new(gpu, &inputs, [layer.rows, layer.cols], &layer.weight, pattern).unwrap();
                let solution = Fista::default().solve(gpu, &problem).unwrap();
                let v = layer.oracle().unscale(&f64s(&solution.weight.fetch(gpu).unwrap()));
                let (found, wanted) = (solution.error, layer.error(&v));
                let off = (found / wanted - 1.0).abs();
                assert!(
                    off < 1e-3,
                    "{} {pattern} drift {drift}: {found} instead of {wanted}",
                    gpu.name()
                );
                let energy = Layer {
                    pruned: layer.dense.clone(),
                    ..clone(&layer)
                }
                .error(&vec![0.0; v.len()]);
                assert!(
                    (problem.energy / energy - 1.0).abs() < 1e-4,
                    "energy {} {energy}",
                    problem.energy
                );
            }
        }
    }
}

fn clone(layer: &Layer) -> Layer {
    Layer {
        dense: layer.dense.clone(),
        pruned: layer.pruned.clone(),
        weight: layer.weight.clone(),
        ..*layer
    }
}

#[test]
fn refit_is_the_exact_solution_on_the_support() {
    for gpu in devices() {
        let layer = Layer::new(5, 16, 40, 800, 0.1);
        let inputs = layer.inputs(gpu);
        for pattern in patterns() {
            let problem = LayerProblem::new(gpu, &inputs, [layer.rows, layer.cols], &layer.weight, pattern).unwrap();
            let start = Wanda.solve(gpu, &problem).unwrap();
            let support = start.support.fetch(gpu).unwrap();
            let before = start.error;
            let refitted = refit(gpu, &problem, start, 80).unwrap();
            let exact = layer.oracle().solve_on(&support);
            let what = format!("{} {pattern}", gpu.name());
            assert_close(&what, &refitted.weight.fetch(gpu).unwrap(), &exact, 1e-3);
            let wanted = layer.error(&layer.oracle().unscale(&exact));
            assert!(
                (refitted.error / wanted - 1.0).abs() < 1e-3,
                "{what}: {} {wanted}",
                refitted.error
            );
            assert!(refitted.error < before, "{what}");
        }
    }
}

#[test]
fn methods_are_ordered_as_theory_says() {
    for gpu in devices() {
        for drift in [0.0, 0.1] {
            let layer = Layer::new(6, 32, 64, 900, drift);
            let inputs = layer.inputs(gpu);
            for pattern in patterns() {
                let shape = [layer.rows, layer.cols];
                let problem = LayerProblem::new(gpu, &inputs, shape, &layer.weight, pattern).unwrap();
                let wanda = Wanda.solve(gpu, &problem).unwrap().error;
                let fista = Fista::default().solve(gpu, &problem).unwrap();
                assert_eq!(fista.start_error, wanda);
                let plain = fista.error;
                let refitted = refit(gpu, &problem, fista, 20).unwrap();
                eprintln!(
                    "{} {pattern} drift {drift}: {wanda:.4} {plain:.4} {:.4}",
                    gpu.name(),
                    refitted.error
                );
                assert!(
                    plain < wanda,
                    "{pattern}: FISTA {plain} is not better than its warm start {wanda}"
                );
                assert!(
                    refitted.error < plain,
                    "{pattern}: refit {} is not better than {plain}",
                    refitted.error
                );
                let kept = refitted
                    .weight
                    .fetch(gpu)
                    .unwrap()
                    .iter()
                    .filter(|v| **v != 0.0)
                    .count();
                assert_eq!(kept, pattern.kept(shape[0], shape[1]), "{pattern}");
            }
        }
    }
}

#[test]
fn zeros_of_the_input_and_dead_inputs_stay_exact() {
    for gpu in devices() {
        let mut layer = Layer::new(7, 16, 32, 300, 0.0);
        for (i, w) in layer.weight.iter_mut().enumerate() {
            if i % 7 == 0 {
                *w = 0.0;
            }
        }
        for row in layer.dense.chunks_mut(32) {
            row[3] = 0.0;
            row[20] = 0.0;
        }
        layer.pruned = layer.dense.clone();
        let inputs = layer.inputs(gpu);
        assert_eq!(inputs.dead, 2);
        for pattern in patterns() {
            let problem = LayerProblem::new(gpu, &inputs, [16, 32], &layer.weight, pattern).unwrap();
            let solution = refit(gpu, &problem, Fista::default().solve(gpu, &problem).unwrap(), 15).unwrap();
            let v = solution.weight.fetch(gpu).unwrap();
            assert!(v.iter().all(|v| v.is_finite()));
            assert!(
                v.iter().zip(&layer.weight).all(|(v, w)| *w != 0.0 || *v == 0.0),
                "{pattern}: a zero grew"
            );
            let kept = v.iter().filter(|v| **v != 0.0).count();
            match pattern {
                Pattern::Unstructured {
                    scope: Scope::Matrix, ..
                } => assert_eq!(kept, pattern.kept(16, 32)),
                _ => assert!(kept <= pattern.kept(16, 32), "{pattern}: {kept}"),
            }
        }
    }
}
