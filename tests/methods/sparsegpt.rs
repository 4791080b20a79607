use secateur::prune::{Fista, FistaSettings, LayerProblem, Method, Pattern, Scope, SparseGpt, Wanda, WarmStart};

use super::{SHAPES, assert_same, classic, patterns, solve};
use crate::common::{devices, f64s, open};
use crate::laws::problem::Layer;

#[test]
fn is_the_published_one() {
    for gpu in devices() {
        for [rows, cols] in SHAPES {
            for drift in [0.0, 0.2] {
                let layer = Layer::new(43, rows, cols, 3 * cols, drift);
                for pattern in patterns() {
                    if matches!(pattern, Pattern::NM { m, .. } if !cols.is_multiple_of(m)) {
                        continue;
                    }
                    let wanted = classic::sparsegpt(&layer, pattern);
                    let found = solve(gpu, &layer, &SparseGpt, pattern);
                    // Damping bounds the condition of the scaled Gram by cols / damping; its root is that of U.
                    let condition = cols as f64 / crate::laws::problem::DAMPING;
                    let tolerance = 8.0 * f64::from(f32::EPSILON) * condition.sqrt();
                    let what = format!("{} {rows}x{cols} {pattern} drift {drift}", gpu.name());
                    assert_same(&what, gpu, &layer, &found, &wanted, tolerance);
                    let error = layer.error(&wanted.weight);
                    assert!(
                        (found.error / error - 1.0).abs() < 1e-3,
                        "{what}: {} {error}",
                        found.error
                    );
                }
            }
        }
    }
}

#[test]
fn makes_up_for_what_wanda_loses() {
    for gpu in devices() {
        for drift in [0.0, 0.1] {
            let layer = Layer::new(44, 32, 160, 900, drift);
            for pattern in [patterns()[0], patterns()[2], patterns()[3]] {
                let [wanda, sparsegpt] =
                    [&Wanda as &dyn Method, &SparseGpt].map(|m| solve(gpu, &layer, m, pattern).error);
                assert!(sparsegpt < 0.9 * wanda, "{pattern} drift {drift}: {sparsegpt} {wanda}");
                let fista = Fista {
                    settings: FistaSettings {
                        warm_start: WarmStart::SparseGpt,
                        ..Default::default()
                    },
                };
                let refined = solve(gpu, &layer, &fista, pattern);
                assert_eq!(refined.start_error, sparsegpt, "{pattern} drift {drift}");
                assert!(
                    refined.error <= sparsegpt && refined.rounds > 0,
                    "{pattern} drift {drift}"
                );
            }
        }
    }
}

/// Zeros of the input stay, and do not count as kept: a block with few weights leaves its share to the others.
#[test]
fn counts_are_exact_beside_zeros_and_dead_inputs() {
    for gpu in devices() {
        let mut layer = Layer::new(45, 12, 300, 900, 0.1);
        for (i, w) in layer.weight.iter_mut().enumerate() {
            // Nearly nothing in the middle block, a seventh less elsewhere.
            if i % 7 == 0 || (128..256).contains(&(i % 300)) && i % 16 != 1 {
                *w = 0.0;
            }
        }
        for row in layer.dense.chunks_mut(300).chain(layer.pruned.chunks_mut(300)) {
            (row[3], row[299]) = (0.0, 0.0);
        }
        for pattern in patterns() {
            let solution = solve(gpu, &layer, &SparseGpt, pattern);
            let (v, support) = (
                solution.weight.fetch(gpu).unwrap(),
                solution.support.fetch(gpu).unwrap(),
            );
            assert!(v.iter().all(|v| v.is_finite()), "{pattern}");
            for ((v, s), w) in v.iter().zip(&support).zip(&layer.weight) {
                assert!(
                    (*v != 0.0) == (*s == 1.0) && (*w != 0.0 || *v == 0.0),
                    "{pattern}: {v} {s} {w}"
                );
            }
            let kept = support.iter().filter(|s| **s != 0.0).count();
            match pattern {
                Pattern::Unstructured {
                    scope: Scope::Matrix, ..
                } => assert_eq!(kept, pattern.kept(12, 300), "{pattern}"),
                _ => assert!(kept <= pattern.kept(12, 300), "{pattern}: {kept}"),
            }
            // The oracle knows no scale of a dead input, and no weight on it matters.
            let unscaled = layer.oracle().unscale(&f64s(&v)).into_iter();
            let unscaled: Vec<f64> = unscaled.map(|v| if v.is_finite() { v } else { 0.0 }).collect();
            let found = solution.error / layer.error(&unscaled);
            assert!((found - 1.0).abs() < 1e-3, "{pattern}: {found}");
        }
    }
}

/// A device that binds little cuts the factor into panels, and the blocks are narrower.
#[test]
fn small_bindings() {
    let adapter = std::env::var("SECATEUR_TEST_ADAPTER").unwrap_or_else(|_| "0".to_string());
    let names = ["cpu", &adapter];
    for name in names.iter().filter(|name| **name != "none") {
        let layer = Layer::new(46, 6, 64, 400, 0.1);
        for pattern in [&patterns()[0], &patterns()[3]] {
            let [whole, panels] = [None, Some(6000)].map(|binding| {
                let gpu = open(name, binding);
                let inputs = layer.inputs(&gpu);
                let problem = LayerProblem::new(&gpu, &inputs, [6, 64], &layer.weight, *pattern).unwrap();
                assert_eq!(inputs.gram.panels().count() > 1, binding.is_some());
                SparseGpt.solve(&gpu, &problem).unwrap().error
            });
            // Narrower blocks choose other masks, but those of N:M and the sweep are the same.
            let tolerance = if matches!(pattern, Pattern::NM { .. }) {
                1e-3
            } else {
                0.3
            };
            assert!(
                (panels / whole - 1.0).abs() < tolerance,
                "{name} {pattern}: {panels} {whole}"
            );
        }
    }
}
