//! Convex pruning and refits in the metric of the curvature.

use secateur::prune::surgeon::{Grain, MetricProblem, UpdateSettings, allocate, correlated_update};
use secateur::prune::{Pattern, Scope};

use super::surgeon::{Case, Plain, SHAPES};
use crate::common::{Data, assert_close, devices, f64s, open, tensor};

/// What takes a scaled weight `v sqrt(G~_ii A~_jj)` back.
fn unscale(plain: &Plain) -> Vec<f64> {
    let [m, n] = plain.shape;
    let [g, a] = &plain.damped;
    (0..m * n)
        .map(|i| 1.0 / (g[i / n * (m + 1)] * a[i % n * (n + 1)]).sqrt())
        .collect()
}

#[test]
fn objective_and_coordinates() {
    let small = open("cpu", Some(16 * 1024));
    for gpu in devices().iter().chain([&small]) {
        for shape in SHAPES {
            let case = Case::new(110, shape);
            let (curvature, plain, w) = (case.curvature(gpu), case.plain(), case.upload(gpu));
            let problem = MetricProblem::new(gpu, &curvature, &w).unwrap();
            let what = format!("{} {shape:?}", gpu.name());
            assert_eq!(problem.objective(gpu, problem.weight()).unwrap(), 0.0, "{what}");
            let v = tensor(gpu, shape[0], shape[1], &Data::new(111).normal(w.len()));
            let found = problem.objective(gpu, &v).unwrap();
            problem.leave(gpu, &v).unwrap();
            let wanted = plain.objective(&plain.change(&f64s(&v.fetch(gpu).unwrap())));
            let tolerance = 64.0 * f64::from(f32::EPSILON) * (w.len() as f64).sqrt();
            assert!((found / wanted - 1.0).abs() < tolerance, "{what}: {found} {wanted}");
            let back = problem.weight();
            problem.leave(gpu, back).unwrap();
            let tolerance = 4.0 * f64::from(f32::EPSILON);
            assert_close(&what, &back.fetch(gpu).unwrap(), &plain.weight, tolerance);
        }
    }
}

/// At the optimum of the LASSO, in scaled coordinates: the gradient is −λ sign(v) where v is not zero, at most λ elsewhere.
#[test]
fn fista_reaches_the_optimum() {
    for gpu in devices() {
        for shape in [[1, 1], [6, 8], [7, 13], [13, 22]] {
            let mut case = Case::new(112, shape);
            if shape[0] > 1 {
                case.weight[3] = 0.0;
            }
            let (curvature, plain, w) = (case.curvature(gpu), case.plain(), case.upload(gpu));
            let problem = MetricProblem::new(gpu, &curvature, &w).unwrap();
            let unit = unscale(&plain);
            let sizes = plain.weight.iter().zip(&unit).map(|(w, u)| (w / u).abs());
            let lambda = 0.3 * sizes.sum::<f64>() / unit.len() as f64;
            let x = problem.lasso(gpu, problem.weight(), lambda, 2000).unwrap();
            problem.leave(gpu, &x).unwrap();
            let v = f64s(&x.fetch(gpu).unwrap());
            let slope = plain.gradient(&plain.change(&v));
            let (mut worst, mut zeros) = (0.0f64, 0);
            for i in (0..v.len()).filter(|i| case.weight[*i] != 0.0) {
                let scaled = slope[i] * unit[i];
                let off = if v[i] == 0.0 {
                    zeros += 1;
                    (scaled.abs() - lambda).max(0.0)
                } else {
                    (scaled + lambda * v[i].signum()).abs()
                };
                worst = worst.max(off / lambda);
            }
            let what = format!("{} {shape:?}", gpu.name());
            assert!(worst < 0.01, "{what}: {worst:.1e} of the penalty");
            assert!(
                shape == [1, 1] || (zeros > 0 && zeros < v.len()),
                "{what}: {zeros} zeros"
            );
            let zeros_stay = case.weight.iter().zip(&v).all(|(w, v)| *w != 0.0 || *v == 0.0);
            assert!(zeros_stay, "{what}");
        }
    }
}

#[test]
fn the_refit_is_the_constrained_minimiser() {
    let patterns = [
        Pattern::unstructured(0.5, Scope::Matrix).unwrap(),
        Pattern::NM { n: 2, m: 4 },
    ];
    for gpu in devices() {
        for shape in [[6, 8], [7, 12]] {
            let case = Case::new(113, shape);
            let (curvature, plain, w) = (case.curvature(gpu), case.plain(), case.upload(gpu));
            let problem = MetricProblem::new(gpu, &curvature, &w).unwrap();
            for pattern in patterns {
                let [rounded, support] = problem.round(gpu, problem.weight(), pattern).unwrap();
                let mask = support.fetch(gpu).unwrap();
                let kept = mask.iter().filter(|s| **s == 1.0).count();
                assert_eq!(kept, pattern.kept(shape[0], shape[1]));
                let refitted = problem.refit(gpu, [&rounded, &support], 300).unwrap();
                let wanted = plain.minimiser(&mask);
                problem.leave(gpu, &refitted.weight).unwrap();
                let what = format!("{} {shape:?} {pattern}", gpu.name());
                let found = refitted.weight.fetch(gpu).unwrap();
                assert_close(&what, &found, &wanted, 4.0 * plain.rounding());
                let least = plain.objective(&plain.change(&wanted));
                let tolerance = 4.0 * plain.rounding();
                assert!(
                    (refitted.after / least - 1.0).abs() < tolerance,
                    "{what}: {} {least}",
                    refitted.after
                );
                assert!(refitted.after < refitted.before, "{what}");
                // Another way to the same point.
                let one = UpdateSettings {
                    max_correlate: 1 << 20,
                    sweeps: 1,
                };
                let updated = correlated_update(gpu, &curvature, &case.upload(gpu), &support, &one).unwrap();
                let same = (updated.objective / refitted.after - 1.0).abs();
                assert!(same < 2.0 * tolerance, "{what}: {same:.1e}");
            }
        }
    }
}

/// Nothing to gain: the start is returned, zeroed off the support.
#[test]
fn a_refit_never_makes_it_worse() {
    for gpu in devices() {
        let case = Case::new(114, [7, 13]);
        let (curvature, w) = (case.curvature(gpu), case.upload(gpu));
        let problem = MetricProblem::new(gpu, &curvature, &w).unwrap();
        let all = tensor(gpu, 7, 13, &[1.0; 91]);
        let refitted = problem.refit(gpu, [problem.weight(), &all], 10).unwrap();
        assert_eq!([refitted.before, refitted.after], [0.0; 2]);
        let start = problem.weight().fetch(gpu).unwrap();
        assert_eq!(refitted.weight.fetch(gpu).unwrap(), start);
        let none = tensor(gpu, 7, 13, &[0.0; 91]);
        let refitted = problem.refit(gpu, [problem.weight(), &none], 10).unwrap();
        assert!(refitted.weight.fetch(gpu).unwrap().iter().all(|v| *v == 0.0));
        assert!(refitted.after == refitted.before && refitted.after > 0.0);
    }
}

/// One threshold over two linears of different scale, from the scaled magnitudes of an iterate.
#[test]
fn iterates_share_a_threshold() {
    for gpu in devices() {
        let cases = [Case::new(115, [6, 8]), Case::new(116, [33, 70])];
        let curvatures = cases.each_ref().map(|case| case.curvature(gpu));
        let weights = cases.each_ref().map(|case| case.upload(gpu));
        let costs = [0, 1].map(|i| {
            let problem = MetricProblem::new(gpu, &curvatures[i], &weights[i]).unwrap();
            problem.costs(gpu, problem.weight(), Grain::Weights).unwrap()
        });
        let histograms = [0, 1].map(|i| costs[i].histogram(gpu, &weights[i]).unwrap());
        let removed = allocate(&histograms, 1000);
        assert_eq!(removed.iter().sum::<u64>(), 1000);
        for (i, case) in cases.iter().enumerate() {
            let plain = case.plain();
            let wanted = plain
                .weight
                .iter()
                .zip(unscale(&plain))
                .map(|(w, u)| 0.5 * (w / u).powi(2));
            let wanted: Vec<f64> = wanted.collect();
            let found = costs[i].weights().fetch(gpu).unwrap();
            assert_close(gpu.name(), &found, &wanted, 32.0 * f64::from(f32::EPSILON));
            let support = costs[i].keep(gpu, &weights[i], removed[i]).unwrap().fetch(gpu).unwrap();
            let zeros = support.iter().filter(|s| **s == 0.0).count();
            assert_eq!(zeros as u64, removed[i]);
        }
    }
}
