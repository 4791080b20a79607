//! Costs, what they select, and one threshold for several linears.

use secateur::prune::surgeon::{Costs, Grain, Saliency, allocate, column_costs, row_costs};

use super::surgeon::{Case, Plain, SHAPES};
use crate::common::{assert_close, devices, open};

/// Plain costs of all weights.
fn weights(plain: &Plain, saliency: Saliency) -> Vec<f64> {
    let [m, n] = plain.shape;
    let [gi, ai] = plain.inverses();
    let [g, a] = &plain.factors;
    let cost = |i: usize| {
        let (r, c) = (i / n * (m + 1), i % n * (n + 1));
        let w = 0.5 * plain.weight[i] * plain.weight[i];
        match saliency {
            Saliency::Obs => w / (gi[r] * ai[c]),
            Saliency::Obd => w * g[r] * a[c],
        }
    };
    (0..m * n).map(cost).collect()
}

/// Plain costs of rows and columns.
fn lines(plain: &Plain, saliency: Saliency) -> [Vec<f64>; 2] {
    let [m, n] = plain.shape;
    let [gi, ai] = plain.inverses();
    let [g, a] = &plain.factors;
    let w = &plain.weight;
    let of = |obs: f64, obd: f64| if saliency == Saliency::Obs { 1.0 / obs } else { obd };
    let row = |i: usize| {
        let form: f64 = (0..n * n).map(|k| w[i * n + k / n] * a[k] * w[i * n + k % n]).sum();
        0.5 * form * of(gi[i * (m + 1)], g[i * (m + 1)])
    };
    let column = |j: usize| {
        let form: f64 = (0..m * m).map(|k| w[k / m * n + j] * g[k] * w[k % m * n + j]).sum();
        0.5 * form * of(ai[j * (n + 1)], a[j * (n + 1)])
    };
    [(0..m).map(row).collect(), (0..n).map(column).collect()]
}

fn f32s(values: &[f64]) -> Vec<f32> {
    values.iter().map(|v| *v as f32).collect()
}

#[test]
fn costs_are_the_published_ones() {
    let small = open("cpu", Some(16 * 1024));
    for gpu in devices().iter().chain([&small]) {
        for shape in SHAPES {
            let case = Case::new(80, shape);
            let (curvature, plain, w) = (case.curvature(gpu), case.plain(), case.upload(gpu));
            let tolerance = plain.rounding();
            for saliency in [Saliency::Obs, Saliency::Obd] {
                let what = format!("{} {shape:?} {saliency:?}", gpu.name());
                let costs = Costs::new(gpu, &curvature, &w, saliency, Grain::Weights).unwrap();
                let found = costs.weights().fetch(gpu).unwrap();
                let wanted = weights(&plain, saliency);
                assert_close(&format!("{what} weights"), &found, &wanted, tolerance);
                let [rows, columns] = lines(&plain, saliency);
                let found = row_costs(gpu, &curvature, &w, saliency).unwrap();
                assert_close(&format!("{what} rows"), &f32s(&found), &rows, tolerance);
                let found = column_costs(gpu, &curvature, &w, saliency).unwrap();
                assert_close(&format!("{what} columns"), &f32s(&found), &columns, tolerance);
            }
        }
    }
}

/// The published code makes both norms equal; here that is only told.
#[test]
fn iad_makes_the_norms_equal() {
    for gpu in devices() {
        let case = Case::new(81, [7, 13]);
        let [g, a] = case.curvature(gpu).iad();
        let norm = |f: &[f32]| f.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let ratio = norm(&case.sums[0]) * g / (norm(&case.sums[1]) * a);
        assert!((ratio - 1.0).abs() < 32.0 * f64::from(f32::EPSILON), "{ratio}");
        assert!((g * a - 1.0).abs() < 1e-12, "the product stays");
    }
}

/// Indices from the cheapest; equal costs: the higher index goes first, as the selection keeps the lower.
fn order(costs: &[f32], candidates: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..costs.len()).filter(|i| candidates(*i)).collect();
    order.sort_by(|a, b| costs[*a].total_cmp(&costs[*b]).then(b.cmp(a)));
    order
}

#[test]
fn exactly_the_cheapest_weights_go() {
    for gpu in devices() {
        for shape in SHAPES {
            let mut case = Case::new(82, shape);
            case.weight.iter_mut().step_by(5).for_each(|w| *w = 0.0);
            let (curvature, w) = (case.curvature(gpu), case.upload(gpu));
            let costs = Costs::new(gpu, &curvature, &w, Saliency::Obs, Grain::Weights).unwrap();
            let values = costs.weights().fetch(gpu).unwrap();
            let order = order(&values, |i| case.weight[i] != 0.0);
            let (total, zeros) = (values.len(), values.len() - order.len());
            for removed in [0, zeros, zeros + 1, (zeros + total) / 2, total] {
                let support = costs.keep(gpu, &w, removed as u64).unwrap().fetch(gpu).unwrap();
                let mut wanted: Vec<f32> = case.weight.iter().map(|w| f32::from(*w != 0.0)).collect();
                let gone = removed.saturating_sub(zeros).min(order.len());
                order[..gone].iter().for_each(|i| wanted[*i] = 0.0);
                assert_eq!(support, wanted, "{} {shape:?} {removed}", gpu.name());
            }
        }
    }
}

#[test]
fn exactly_the_cheapest_groups_go() {
    for gpu in devices() {
        for ([n, m], shape) in [
            ([2, 4], [6, 8]),
            ([4, 8], [5, 64]),
            ([3, 5], [17, 130]),
            ([1, 16], [3, 16]),
        ] {
            let mut case = Case::new(83, shape);
            // Some groups have their zeros already, some a few of them.
            for (i, w) in case.weight.iter_mut().enumerate() {
                if (i / m % 3 == 0 && i % m >= n) || i % 11 == 3 {
                    *w = 0.0;
                }
            }
            let (curvature, w) = (case.curvature(gpu), case.upload(gpu));
            let costs = Costs::new(gpu, &curvature, &w, Saliency::Obs, Grain::Groups { n, m }).unwrap();
            let what = format!("{} {n}:{m} {shape:?}", gpu.name());
            let weights = costs.weights().fetch(gpu).unwrap();
            let groups = costs.groups().unwrap().fetch(gpu).unwrap();
            let cheapest = |g: usize| {
                let mut all: Vec<f32> = weights[g * m..][..m].to_vec();
                all.sort_by(f32::total_cmp);
                all[..m - n].iter().map(|v| f64::from(*v)).sum()
            };
            let wanted: Vec<f64> = (0..groups.len()).map(cheapest).collect();
            assert_close(&what, &groups, &wanted, m as f64 * f64::from(f32::EPSILON));
            let zeros = |g: usize| case.weight[g * m..][..m].iter().filter(|w| **w == 0.0).count();
            let order = order(&groups, |g| zeros(g) < m - n);
            let done = groups.len() - order.len();
            assert!(!order.is_empty() && done > 0, "{what}: the case is a mixed one");
            let histogram = costs.histogram(gpu, &w).unwrap();
            assert_eq!(
                [histogram.total(), histogram.done()],
                [groups.len() as u64, done as u64],
                "{what}"
            );
            for removed in [0, done, done + 1, (done + groups.len()) / 2, groups.len()] {
                let support = costs.keep(gpu, &w, removed as u64).unwrap().fetch(gpu).unwrap();
                let gone = &order[..removed.saturating_sub(done).min(order.len())];
                for g in 0..groups.len() {
                    let kept = |i: &usize| support[*i] == 1.0;
                    let (stay, go): (Vec<usize>, Vec<usize>) = (g * m..(g + 1) * m).partition(kept);
                    let wanted = if gone.contains(&g) { n } else { m - zeros(g) };
                    assert_eq!(stay.len(), wanted, "{what}: group {g} of {removed}");
                    assert!(stay.iter().all(|i| case.weight[*i] != 0.0), "{what}: zeros stay zero");
                    let least = stay.iter().map(|i| weights[*i]).fold(f32::MAX, f32::min);
                    assert!(
                        go.iter().all(|i| weights[*i] <= least),
                        "{what}: the cheapest of group {g}"
                    );
                }
            }
        }
    }
}

/// Several linears of very different scale: exact numbers, and no dear weight goes while a cheap one stays.
#[test]
fn one_threshold_for_the_model() {
    for gpu in devices() {
        let mut cases = [[33, 70], [17, 131], [6, 8]].map(|shape| Case::new(84, shape));
        cases[1].weight.iter_mut().for_each(|w| *w *= 30.0);
        cases[2].weight[..10].fill(0.0);
        let model = cases.each_ref().map(|case| {
            let (curvature, w) = (case.curvature(gpu), case.upload(gpu));
            let costs = Costs::new(gpu, &curvature, &w, Saliency::Obs, Grain::Weights).unwrap();
            (costs, w)
        });
        let histograms = model.each_ref().map(|(costs, w)| costs.histogram(gpu, w).unwrap());
        let total: u64 = histograms.iter().map(|h| h.total()).sum();
        for target in [10, total / 10, total / 2, total - 1] {
            let removed = allocate(&histograms, target);
            assert_eq!(removed.iter().sum::<u64>(), target, "{}", gpu.name());
            let (mut dearest_gone, mut cheapest_kept) = (0.0f32, f32::MAX);
            for ((costs, w), removed) in model.iter().zip(&removed) {
                let support = costs.keep(gpu, w, *removed).unwrap().fetch(gpu).unwrap();
                assert_eq!(support.iter().filter(|s| **s == 0.0).count() as u64, *removed);
                for (cost, s) in costs.weights().fetch(gpu).unwrap().iter().zip(&support) {
                    if *s == 0.0 {
                        dearest_gone = dearest_gone.max(*cost);
                    } else {
                        cheapest_kept = cheapest_kept.min(*cost);
                    }
                }
            }
            // A bin is one part in 256 wide.
            let bound = cheapest_kept * (1.0 + 1.0 / 256.0);
            assert!(dearest_gone <= bound, "{dearest_gone} {cheapest_kept}");
        }
    }
}
