use secateur::prune::{DampingRule, LayerProblem, redundancy};

use super::patterns;
use crate::common::{devices, open};
use crate::laws::problem::{DAMPING, Layer};

/// Half of every block of at most `block` columns, one by one: each time the weight with the least damped error beside all
/// that went before. Returns the error without damping.
fn plain(layer: &Layer, block: usize) -> f64 {
    let (rows, cols) = (layer.rows, layer.cols);
    let tokens = layer.tokens;
    let gram = |i: usize, j: usize| -> f64 {
        let products = layer.dense.chunks(cols).map(|x| f64::from(x[i]) * f64::from(x[j]));
        products.sum::<f64>() / tokens as f64
    };
    let gram: Vec<f64> = (0..cols * cols).map(|at| gram(at / cols, at % cols)).collect();
    let mut total = 0.0;
    for row in 0..rows {
        let w = &layer.weight[row * cols..(row + 1) * cols];
        let mut taken = vec![0.0; cols];
        for first in (0..cols).step_by(block) {
            let columns = first..(first + block).min(cols);
            for _ in 0..columns.len() / 2 {
                let cost = |j: usize| {
                    let cross: f64 = (0..cols).map(|i| taken[i] * gram[i * cols + j]).sum();
                    let w = f64::from(w[j]);
                    w * w * gram[j * cols + j] * (1.0 + DAMPING) + 2.0 * w * cross
                };
                let left = columns.clone().filter(|j| taken[*j] == 0.0);
                let cheapest = left.min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap();
                taken[cheapest] = f64::from(w[cheapest]);
            }
        }
        for (i, a) in taken.iter().enumerate() {
            total += taken
                .iter()
                .enumerate()
                .map(|(j, b)| a * b * gram[i * cols + j])
                .sum::<f64>();
        }
    }
    total
}

/// A choice between two weights that cost the same to within f32 may fall either way, and costs as little.
#[test]
fn is_the_greedy_error() {
    for [rows, cols] in [[1, 1], [3, 2], [5, 40], [4, 128], [3, 200], [2, 300]] {
        let layer = Layer::new(61, rows, cols, 3 * cols + 2, 0.0);
        let wanted = plain(&layer, 128);
        for gpu in devices() {
            let inputs = layer.inputs_damped(gpu, DampingRule::Own);
            let problem = LayerProblem::new(gpu, &inputs, [rows, cols], &layer.weight, patterns()[0]).unwrap();
            let found = redundancy(gpu, &problem).unwrap();
            let what = format!("{} {rows}x{cols}: {found} {wanted}", gpu.name());
            assert!((found - wanted).abs() <= 1e-4 * wanted, "{what}");
        }
    }
}

/// A device that binds little takes narrower blocks, from a Gram in panels.
#[test]
fn small_bindings() {
    let layer = Layer::new(62, 5, 64, 300, 0.0);
    let gpu = open("cpu", Some(6000));
    let inputs = layer.inputs_damped(&gpu, DampingRule::Own);
    assert!(inputs.gram().panels().count() > 1);
    let problem = LayerProblem::new(&gpu, &inputs, [5, 64], &layer.weight, patterns()[0]).unwrap();
    let (found, wanted) = (redundancy(&gpu, &problem).unwrap(), plain(&layer, 6000 / (4 * 64)));
    assert!((found - wanted).abs() <= 1e-4 * wanted, "{found} {wanted}");
}
