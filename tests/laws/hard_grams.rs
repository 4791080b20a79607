//! No Gram makes a method fail or return what is not a number.

use secateur::prune::{DampingRule, LayerProblem, METHODS, MethodOptions, Pattern, Scope, refit};

use super::problem::Layer;
use crate::common::{Data, devices, f64s};

const ROWS: usize = 12;
const COLS: usize = 72;

/// Name, and inputs `[tokens, COLS]`.
fn inputs() -> Vec<(&'static str, Vec<f32>)> {
    let data = |tokens: usize| Data::new(60).normal(tokens * COLS);
    let alter = |tokens: usize, f: &dyn Fn(usize, f32) -> f32| -> Vec<f32> {
        data(tokens).iter().enumerate().map(|(i, v)| f(i % COLS, *v)).collect()
    };
    let mut twins = data(400);
    for row in twins.chunks_mut(COLS) {
        row.copy_within(0..COLS / 2, COLS / 2);
    }
    let mut lines = data(400);
    for row in lines.chunks_mut(COLS) {
        let first = row[0];
        row.iter_mut().for_each(|v| *v = first);
    }
    // The same spectrum in a frame that no scaling of single inputs finds: reflections mix them all.
    let mut hidden = alter(400, &|c, v| v * 10f32.powf(4.0 - 8.0 * c as f32 / COLS as f32));
    let mirrors = Data::new(62).normal(3 * COLS);
    for row in hidden.chunks_mut(COLS) {
        for mirror in mirrors.chunks(COLS) {
            let dot = |x: &[f32]| -> f64 { x.iter().zip(mirror).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
            let share = 2.0 * dot(row) / dot(mirror);
            row.iter_mut()
                .zip(mirror)
                .for_each(|(v, m)| *v -= (share * f64::from(*m)) as f32);
        }
    }
    vec![
        // An expert that nothing is routed to.
        ("no tokens", Vec::new()),
        ("condition 1e8, correlated", hidden),
        ("fewer tokens than inputs", data(COLS / 3)),
        ("one token", data(1)),
        ("all inputs zero", vec![0.0; 50 * COLS]),
        ("some inputs zero", alter(400, &|c, v| if c % 5 == 1 { 0.0 } else { v })),
        ("every channel twice", twins),
        ("rank one", lines),
        // Energies over sixteen decades.
        (
            "condition 1e8",
            alter(400, &|c, v| v * 10f32.powf(4.0 - 8.0 * c as f32 / COLS as f32)),
        ),
        ("tiny", alter(400, &|_, v| v * 1e-12)),
        ("huge", alter(400, &|_, v| v * 1e12)),
    ]
}

#[test]
fn every_method_survives_by_either_damping() {
    let patterns = [
        Pattern::unstructured(0.6, Scope::Matrix).unwrap(),
        Pattern::NM { n: 2, m: 4 },
    ];
    for gpu in devices() {
        for (name, tokens) in inputs() {
            let layer = Layer {
                rows: ROWS,
                cols: COLS,
                tokens: tokens.len() / COLS,
                pruned: tokens.clone(),
                dense: tokens,
                weight: Data::new(61).normal(ROWS * COLS),
            };
            for (rule, pattern) in [DampingRule::Own, DampingRule::Mean]
                .into_iter()
                .flat_map(|r| patterns.map(|p| (r, p)))
            {
                let inputs = layer.inputs_damped(gpu, rule);
                let problem = LayerProblem::new(gpu, &inputs, [ROWS, COLS], &layer.weight, pattern).unwrap();
                for row in METHODS.iter().filter(|row| !row.is_global()) {
                    let mut options = MethodOptions::of(row);
                    if row.options.iter().any(|option| option.name == "warm-start") {
                        options.set(row, "warm-start", "sparsegpt").unwrap();
                    }
                    let method = row.layerwise(&options).unwrap();
                    let what = format!("{} {} {pattern}, {name}, {} damping", gpu.name(), row.name, rule.name());
                    let solution = method.solve(gpu, &problem).unwrap_or_else(|e| panic!("{what}: {e}"));
                    let solution = refit(gpu, &problem, solution, 15).unwrap();
                    let support = solution.support.fetch(gpu).unwrap();
                    let kept = support.iter().filter(|s| **s == 1.0).count();
                    assert_eq!(kept, pattern.kept(ROWS, COLS), "{what}");
                    let scaled = f64s(&solution.weight.fetch(gpu).unwrap());
                    assert!(scaled.iter().all(|v| v.is_finite()), "{what}: not finite");
                    let off = scaled
                        .iter()
                        .zip(&support)
                        .filter(|(v, s)| **v != 0.0 && **s == 0.0)
                        .count();
                    assert_eq!(off, 0, "{what}: weights off the support");
                    assert!(
                        solution.error.is_finite() && solution.error >= 0.0,
                        "{what}: {}",
                        solution.error
                    );
                    // Nothing is worse than pruning everything but by rounding.
                    let most = problem.energy * 1.5 + f64::from(f32::MIN_POSITIVE);
                    assert!(
                        solution.error <= most,
                        "{what}: {} of {}",
                        solution.error,
                        problem.energy
                    );
                }
            }
        }
    }
}
