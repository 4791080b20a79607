//! Methods that choose a mask and leave the weights as they are.

use secateur::prune::{DampingRule, Ria, Wanda};

use super::{SHAPES, assert_same, classic, patterns, solve};
use crate::common::devices;
use crate::laws::problem::Layer;

#[test]
fn wanda_and_ria_are_the_published_ones() {
    for gpu in devices() {
        for [rows, cols] in SHAPES {
            let layer = Layer::new(41, rows, cols, 200, 0.0);
            for pattern in patterns() {
                let solve = |method| solve(gpu, &layer, method, pattern, DampingRule::Own);
                let (Some(wanda), Some(ria)) = (solve(&Wanda), solve(&Ria)) else {
                    continue;
                };
                // Scaled and back: two roundings.
                let tolerance = 4.0 * f64::from(f32::EPSILON);
                let what = format!("{} {rows}x{cols} {pattern}", gpu.name());
                let wanted = classic::wanda(&layer, pattern);
                assert_same(&format!("{what} wanda"), cols, &wanda, &wanted, tolerance);
                let wanted = classic::ria(&layer, pattern);
                assert_same(&format!("{what} ria"), cols, &ria, &wanted, tolerance);
            }
        }
    }
}

/// A row of zeros and a column of zeros have no sums to divide by.
#[test]
fn ria_with_nothing_in_a_row_and_a_column() {
    for gpu in devices() {
        let mut layer = Layer::new(42, 6, 12, 100, 0.0);
        for (i, w) in layer.weight.iter_mut().enumerate() {
            if i / 12 == 2 || i % 12 == 5 {
                *w = 0.0;
            }
        }
        for pattern in &patterns()[..4] {
            let found = solve(gpu, &layer, &Ria, *pattern, DampingRule::Own).unwrap();
            assert!(found.weight.iter().all(|v| v.is_finite()), "{pattern}");
            let mut pairs = found.weight.iter().zip(&layer.weight);
            assert!(pairs.all(|(v, w)| *w != 0.0 || *v == 0.0), "{pattern}");
            let error = found.solution.error;
            assert!(error.is_finite() && error > 0.0, "{pattern}");
        }
    }
}
