//! Properties of LLM Surgeon that hold by theory, and factors that break careless code.

use std::rc::Rc;

use secateur::gpu::Gpu;
use secateur::prune::surgeon::{
    Costs, Curvature, Grain, KroneckerFactor, MetricProblem, Saliency, UpdateSettings, column_costs, correlated_update,
    joint_column_cost, joint_row_cost, remove_columns, remove_rows, row_costs,
};
use secateur::prune::{Damping, DampingRule, Pattern, PruneError};

use crate::common::{Data, assert_close, devices, f64s, tensor};
use crate::methods::surgeon::{Case, gram, panels};

const ROWS: usize = 20;
const COLS: usize = 36;

/// Name, and tokens `[.., n]`.
fn channels(n: usize) -> Vec<(&'static str, Vec<f32>)> {
    let data = |tokens: usize| Data::new(120).normal(tokens * n);
    let alter = |f: &dyn Fn(usize, f32) -> f32| -> Vec<f32> {
        data(400).iter().enumerate().map(|(i, v)| f(i % n, *v)).collect()
    };
    let mut twins = data(400);
    twins.chunks_mut(n).for_each(|row| row.copy_within(0..n / 2, n / 2));
    let rank_one = data(400).chunks(n).flat_map(|row| vec![row[0]; n]).collect();
    vec![
        ("plain", data(400)),
        ("one token", data(1)),
        ("zero", vec![0.0; 50 * n]),
        ("dead channels", alter(&|c, v| if c % 3 == 1 { 0.0 } else { v })),
        ("one channel alive", alter(&|c, v| if c == 2 { v } else { 0.0 })),
        ("every channel twice", twins),
        ("rank one", rank_one),
        (
            "condition 1e8",
            alter(&|c, v| v * 10f32.powf(4.0 - 8.0 * c as f32 / n as f32)),
        ),
        ("tiny", alter(&|_, v| v * 1e-8)),
        ("huge", alter(&|_, v| v * 1e8)),
    ]
}

const fn mean(fraction: f64) -> Damping {
    let rule = DampingRule::Mean;
    Damping { rule, fraction }
}

const fn own(fraction: f64) -> Damping {
    let rule = DampingRule::Own;
    Damping { rule, fraction }
}

fn side(gpu: &Gpu, tokens: &[f32], n: usize, damping: Damping) -> Result<Rc<KroneckerFactor>, PruneError> {
    let sum = panels(gpu, n, &gram(tokens, n));
    KroneckerFactor::prepare(gpu, sum, tokens.len() / n, damping, "test").map(Rc::new)
}

/// A weight with a dead row and a dead column.
fn weight() -> Vec<f32> {
    let dead = |i: usize| i / COLS == 4 || i % COLS == 7;
    let values = Data::new(121).normal(ROWS * COLS);
    let values = values.iter().enumerate();
    values.map(|(i, w)| if dead(i) { 0.0 } else { *w }).collect()
}

fn all_finite(what: &str, values: impl IntoIterator<Item = f64>) {
    for v in values {
        assert!(v.is_finite() && v >= 0.0, "{what}: {v}");
    }
}

/// Costs of all kinds, and what they select.
fn costs(what: &str, gpu: &Gpu, curvature: &Curvature) {
    let w = tensor(gpu, ROWS, COLS, &weight());
    let (g, a) = (curvature.outputs.energy(), curvature.inputs.energy());
    for saliency in [Saliency::Obs, Saliency::Obd] {
        let (rows, cols) = (
            row_costs(gpu, curvature, &w, saliency),
            column_costs(gpu, curvature, &w, saliency),
        );
        all_finite(what, rows.unwrap().into_iter().chain(cols.unwrap()));
        let costs = Costs::new(gpu, curvature, &w, saliency, Grain::Groups { n: 2, m: 4 }).unwrap();
        let weights = f64s(&costs.weights().fetch(gpu).unwrap());
        for (i, cost) in weights.iter().enumerate() {
            let dead = g[i / COLS] == 0.0 || a[i % COLS] == 0.0;
            assert!(!dead || *cost == 0.0, "{what}: dead channels cost nothing");
        }
        all_finite(what, weights);
        all_finite(what, f64s(&costs.groups().unwrap().fetch(gpu).unwrap()));
        let histogram = costs.histogram(gpu, &w).unwrap();
        assert_eq!(histogram.total(), (ROWS * COLS / 4) as u64, "{what}");
    }
}

/// Updates of all kinds.
fn updates(what: &str, gpu: &Gpu, curvature: &Curvature) {
    let w = tensor(gpu, ROWS, COLS, &weight());
    let costs = Costs::new(gpu, curvature, &w, Saliency::Obs, Grain::Weights).unwrap();
    let support = costs.keep(gpu, &w, (ROWS * COLS / 3) as u64).unwrap();
    let settings = UpdateSettings {
        max_correlate: 100,
        sweeps: 1,
    };
    let updated = correlated_update(gpu, curvature, &w, &support, &settings).unwrap();
    all_finite(what, [updated.objective, updated.zeroed]);
    assert!(updated.objective <= updated.zeroed, "{what}");
    let (rows, cols) = ([1, 4, 5, 19], [0, 7, 8, 20, 21]);
    all_finite(what, [joint_row_cost(gpu, curvature, &w, &rows).unwrap()]);
    all_finite(what, [joint_column_cost(gpu, curvature, &w, &cols).unwrap()]);
    remove_rows(gpu, &curvature.outputs, &w, &rows).unwrap();
    remove_columns(gpu, &curvature.inputs, &w, &cols).unwrap();
    let found = w.fetch(gpu).unwrap();
    assert!(found.iter().all(|v| v.is_finite()), "{what}: lines removed");
}

fn convex(what: &str, gpu: &Gpu, curvature: &Curvature) {
    let w = tensor(gpu, ROWS, COLS, &weight());
    let problem = MetricProblem::new(gpu, curvature, &w).unwrap();
    let v = problem.lasso(gpu, problem.weight(), 1e-3, 20).unwrap();
    let [v, support] = problem.round(gpu, &v, Pattern::NM { n: 2, m: 4 }).unwrap();
    let refitted = problem.refit(gpu, [&v, &support], 10).unwrap();
    all_finite(what, [refitted.before, refitted.after]);
    problem.leave(gpu, &refitted.weight).unwrap();
    let found = refitted.weight.fetch(gpu).unwrap();
    assert!(found.iter().all(|v| v.is_finite()), "{what}: refitted");
}

/// Everything there is on hard factors on either side and on both, with the published damping, with each channel's own, and with none.
#[test]
fn no_factor_gives_what_is_not_a_number() {
    for gpu in devices() {
        for (gradients, g) in channels(ROWS) {
            let beside = |name: &str| name == "plain" || gradients == "plain" || name == gradients;
            for (activations, a) in channels(COLS).into_iter().filter(|a| beside(a.0)) {
                for damping in [mean(0.01), own(0.01), mean(0.0)] {
                    let what = format!("{} G {gradients}, A {activations}, {damping:?}", gpu.name());
                    let curvature = Curvature {
                        outputs: side(gpu, &g, ROWS, damping).unwrap(),
                        inputs: side(gpu, &a, COLS, damping).unwrap(),
                    };
                    costs(&what, gpu, &curvature);
                    updates(&what, gpu, &curvature);
                    convex(&what, gpu, &curvature);
                }
            }
        }
    }
}

/// Undamped, a factor that repeats itself cannot be inverted: that is counted.
#[test]
fn escalations_are_counted() {
    for gpu in devices() {
        for (name, tokens) in channels(COLS) {
            let singular = ["one token", "every channel twice", "rank one"].contains(&name);
            let undamped = side(gpu, &tokens, COLS, mean(0.0)).unwrap();
            assert_eq!(undamped.escalations() > 0, singular, "{} {name}", gpu.name());
            for damping in [mean(0.01), own(0.01)] {
                let damped = side(gpu, &tokens, COLS, damping).unwrap();
                assert_eq!(damped.escalations(), 0, "{} {name}", gpu.name());
            }
        }
    }
}

/// A channel without energy is as if it were not there.
#[test]
fn dead_channels_change_nothing() {
    let keep = |n: usize| (0..n).filter(|c| c % 3 != 1).collect::<Vec<usize>>();
    let named = |n: usize| channels(n).swap_remove(3).1;
    let only = |tokens: &[f32], n: usize, kept: &[usize]| -> Vec<f32> {
        let rows = tokens.chunks(n);
        rows.flat_map(|row| kept.iter().map(|c| row[*c])).collect()
    };
    let (rows, cols) = (keep(ROWS), keep(COLS));
    let (g, a, w) = (named(ROWS), named(COLS), weight());
    let places: Vec<usize> = rows
        .iter()
        .flat_map(|i| cols.iter().map(move |j| i * COLS + j))
        .collect();
    let mask: Vec<f32> = (0..ROWS * COLS).map(|i| f32::from(i * i % 5 != 1)).collect();
    let part = |values: &[f32]| places.iter().map(|at| values[*at]).collect::<Vec<f32>>();
    for gpu in devices() {
        let update = |shape: [usize; 2], tokens: [&[f32]; 2], [w, mask]: [&[f32]; 2]| {
            let curvature = Curvature {
                outputs: side(gpu, tokens[0], shape[0], mean(0.1)).unwrap(),
                inputs: side(gpu, tokens[1], shape[1], own(0.01)).unwrap(),
            };
            let [w, mask] = [w, mask].map(|v| tensor(gpu, shape[0], shape[1], v));
            let settings = UpdateSettings::default();
            let updated = correlated_update(gpu, &curvature, &w, &mask, &settings).unwrap();
            assert!(updated.objective < 0.99 * updated.zeroed, "{updated:?}");
            let dead = [curvature.outputs.dead(), curvature.inputs.dead()];
            (w.fetch(gpu).unwrap(), dead)
        };
        let (whole, dead) = update([ROWS, COLS], [&g, &a], [&w, &mask]);
        assert_eq!(dead, [ROWS - rows.len(), COLS - cols.len()]);
        let tokens = [&only(&g, ROWS, &rows)[..], &only(&a, COLS, &cols)];
        let (small, dead) = update([rows.len(), cols.len()], tokens, [&part(&w), &part(&mask)]);
        assert_eq!(dead, [0, 0]);
        assert_close(gpu.name(), &part(&whole), &f64s(&small), 1e-4);
    }
}

/// However the set is cut, the result is not worse than zeroing; and one chunk is not worse than many.
#[test]
fn the_update_never_raises_the_objective() {
    for gpu in devices() {
        for seed in 0..4 {
            let case = Case::new(130 + seed, [23, 31]);
            let curvature = case.curvature(gpu);
            let values = Data::new(140 + seed).uniform(23 * 31);
            for zeros in [0.1, 0.5, 0.9] {
                let support: Vec<f32> = values.iter().map(|v| f32::from(v.abs() > zeros)).collect();
                let support = tensor(gpu, 23, 31, &support);
                let [one, some, all] = [1, 40, 10_000].map(|max_correlate| {
                    let settings = UpdateSettings {
                        max_correlate,
                        sweeps: 1,
                    };
                    correlated_update(gpu, &curvature, &case.upload(gpu), &support, &settings).unwrap()
                });
                let what = format!("{} {seed} {zeros}", gpu.name());
                for updated in [one, some, all] {
                    assert!(updated.objective <= updated.zeroed, "{what}: {updated:?}");
                    assert!(
                        all.objective <= updated.objective * 1.001,
                        "{what}: {updated:?} {all:?}"
                    );
                }
                assert!(!all.rejected && all.objective < all.zeroed, "{what}: {all:?}");
            }
        }
    }
}

/// Diagonal factors couple nothing: the others stay as they are, and costs add up.
#[test]
fn diagonal_factors_couple_nothing() {
    let diagonal = |n: usize, seed| -> Vec<f32> {
        let energies = Data::new(seed).uniform(n);
        let value = |i: usize| if i / n == i % n { 1.5 + energies[i / n] } else { 0.0 };
        (0..n * n).map(value).collect()
    };
    for gpu in devices() {
        let make = |n: usize, seed, damping| {
            let sum = panels(gpu, n, &diagonal(n, seed));
            Rc::new(KroneckerFactor::prepare(gpu, sum, 7, damping, "test").unwrap())
        };
        let curvature = Curvature {
            outputs: make(ROWS, 150, own(0.1)),
            inputs: make(COLS, 151, mean(0.01)),
        };
        let w = tensor(gpu, ROWS, COLS, &weight());
        let costs = row_costs(gpu, &curvature, &w, Saliency::Obs).unwrap();
        let joint = joint_row_cost(gpu, &curvature, &w, &[0, 3, 9]).unwrap();
        let sum = costs[0] + costs[3] + costs[9];
        assert!((joint / sum - 1.0).abs() < 1e-5, "{}: {joint} {sum}", gpu.name());
        let costs = column_costs(gpu, &curvature, &w, Saliency::Obs).unwrap();
        let joint = joint_column_cost(gpu, &curvature, &w, &[1, 2, 30]).unwrap();
        let sum = costs[1] + costs[2] + costs[30];
        assert!((joint / sum - 1.0).abs() < 1e-5, "{}: {joint} {sum}", gpu.name());
        let support: Vec<f32> = (0..ROWS * COLS).map(|i| f32::from(i % 3 != 0)).collect();
        let mask = tensor(gpu, ROWS, COLS, &support);
        let updated = correlated_update(gpu, &curvature, &w, &mask, &UpdateSettings::default()).unwrap();
        assert!((updated.objective / updated.zeroed - 1.0).abs() < 1e-5, "{updated:?}");
        for ((v, w), s) in w.fetch(gpu).unwrap().iter().zip(&weight()).zip(&support) {
            assert!((v - w * s).abs() <= 1e-6 * w.abs(), "{}: {v} {w}", gpu.name());
        }
    }
}

#[test]
fn a_factor_that_is_not_finite_is_named() {
    for gpu in devices() {
        let mut sum = gram(&channels(ROWS)[0].1, ROWS);
        sum[3 * ROWS + 3] = f32::INFINITY;
        let sum = panels(gpu, ROWS, &sum);
        let error = KroneckerFactor::prepare(gpu, sum, 400, mean(0.01), "layer 3 gate_proj").err();
        let text = error.expect("it fails").to_string();
        assert!(
            text.contains("layer 3 gate_proj") && text.contains("channel 3"),
            "{text}"
        );
    }
}
