//! Methods that choose a mask and leave the weights as they are.

use secateur::prune::{Pattern, Ria, Wanda};

use super::{SHAPES, assert_same, classic, patterns, solve};
use crate::common::devices;
use crate::laws::problem::Layer;

#[test]
fn wanda_and_ria_are_the_published_ones() {
    for gpu in devices() {
        for [rows, cols] in SHAPES {
            let layer = Layer::new(41, rows, cols, 200, 0.0);
            for pattern in patterns() {
                if matches!(pattern, Pattern::NM { m, .. } if !cols.is_multiple_of(m)) {
                    continue;
                }
                // Scaled and back: two roundings.
                let tolerance = 4.0 * f64::from(f32::EPSILON);
                let what = |name| format!("{} {name} {rows}x{cols} {pattern}", gpu.name());
                let (wanda, ria) = (classic::wanda(&layer, pattern), classic::ria(&layer, pattern));
                assert_same(
                    &what("wanda"),
                    gpu,
                    &layer,
                    &solve(gpu, &layer, &Wanda, pattern),
                    &wanda,
                    tolerance,
                );
                assert_same(
                    &what("ria"),
                    gpu,
                    &layer,
                    &solve(gpu, &layer, &Ria, pattern),
                    &ria,
                    tolerance,
                );
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
            let solution = solve(gpu, &layer, &Ria, *pattern);
            let v = solution.weight.fetch(gpu).unwrap();
            assert!(v.iter().all(|v| v.is_finite()), "{pattern}");
            assert!(
                v.iter().zip(&layer.weight).all(|(v, w)| *w != 0.0 || *v == 0.0),
                "{pattern}"
            );
            assert!(solution.error.is_finite() && solution.error > 0.0, "{pattern}");
        }
    }
}
