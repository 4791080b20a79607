use secateur::prune::{
    DampingRule, Fista, FistaSettings, LayerProblem, Method, Pattern, Scope, SparseGpt, Wanda, WarmStart,
};

use super::{SHAPES, assert_same, classic, patterns, solve};
use crate::common::{devices, open};
use crate::laws::problem::{DAMPING, Layer};

/// Checks every pattern that fits against the plain version.
fn check(layer: &Layer, rule: DampingRule) {
    let (rows, cols) = (layer.rows, layer.cols);
    for pattern in patterns() {
        if pattern.check_width("test", cols).is_err() {
            continue;
        }
        let wanted = classic::sparsegpt(layer, pattern, rule);
        let energy = layer.error(&wanted.weight);
        for gpu in devices() {
            let found = solve(gpu, layer, &SparseGpt, pattern, rule).unwrap();
            // Damping bounds the condition of the scaled Gram by cols / damping; its root is that of U.
            let tolerance = 8.0 * f64::from(f32::EPSILON) * (cols as f64 / DAMPING).sqrt();
            let what = format!("{} {rows}x{cols} {pattern} {rule:?}", gpu.name());
            assert_same(&what, cols, &found, &wanted, tolerance);
            let error = found.solution.error;
            assert!((error / energy - 1.0).abs() < 1e-3, "{what}: {error} {energy}");
        }
    }
}

#[test]
fn is_the_published_one() {
    for [rows, cols] in SHAPES {
        for drift in [0.0, 0.2] {
            check(&Layer::new(43, rows, cols, 3 * cols, drift), DampingRule::Own);
        }
    }
}

/// The published damping leaves quiet inputs without.
#[test]
fn is_the_published_one_with_the_published_damping() {
    check(&Layer::new(47, 20, 140, 900, 0.0), DampingRule::Mean);
    check(&Layer::new(48, 20, 140, 900, 0.1), DampingRule::Mean);
}

#[test]
fn makes_up_for_what_wanda_loses() {
    let fista = Fista {
        settings: FistaSettings {
            warm_start: WarmStart::SparseGpt,
            ..Default::default()
        },
    };
    for gpu in devices() {
        for drift in [0.0, 0.1] {
            let layer = Layer::new(44, 32, 160, 900, drift);
            for pattern in [patterns()[0], patterns()[2], patterns()[3]] {
                let solve = |method| solve(gpu, &layer, method, pattern, DampingRule::Own).unwrap().solution;
                let (wanda, sparsegpt) = (solve(&Wanda).error, solve(&SparseGpt).error);
                let what = format!("{} {pattern} drift {drift}", gpu.name());
                assert!(sparsegpt < 0.9 * wanda, "{what}: {sparsegpt} {wanda}");
                let refined = solve(&fista);
                assert_eq!(refined.start_error, sparsegpt, "{what}");
                assert!(refined.error <= sparsegpt && refined.rounds > 0, "{what}");
            }
        }
    }
}

/// Zeros of the input stay, and do not count as kept: a block with few weights leaves its share to the others.
#[test]
fn counts_are_exact_beside_zeros_and_dead_inputs() {
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
    let free = layer.weight.iter().filter(|w| **w != 0.0).count();
    for gpu in devices() {
        for pattern in patterns() {
            let found = solve(gpu, &layer, &SparseGpt, pattern, DampingRule::Own).unwrap();
            let what = format!("{} {pattern}", gpu.name());
            for ((v, s), w) in found.weight.iter().zip(&found.support).zip(&layer.weight) {
                assert!(v.is_finite(), "{what}");
                assert!(
                    (*v != 0.0) == (*s == 1.0) && (*w != 0.0 || *v == 0.0),
                    "{what}: {v} {s} {w}"
                );
            }
            let kept = found.support.iter().filter(|s| **s != 0.0).count();
            match pattern {
                Pattern::Unstructured {
                    scope: Scope::Matrix, ..
                } => assert_eq!(kept, pattern.kept(12, 300).min(free), "{what}"),
                _ => assert!(kept <= pattern.kept(12, 300), "{what}: {kept}"),
            }
            let ratio = found.solution.error / layer.error(&found.weight);
            assert!((ratio - 1.0).abs() < 1e-3, "{what}: {ratio}");
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
                assert_eq!(inputs.gram().panels().count() > 1, binding.is_some());
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
