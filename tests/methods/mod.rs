//! T5: methods against plain versions of the published ones, on whole layers.

mod classic;
mod masks;
mod sparsegpt;

use secateur::prune::{LayerSolution, Pattern, Scope};

use self::classic::Classic;
use crate::common::f64s;
use crate::laws::problem::Layer;

use secateur::gpu::Gpu;
use secateur::prune::{LayerProblem, Method};

/// Outputs and inputs: one output, around a block of 128 columns, several blocks, widths that no block divides.
const SHAPES: [[usize; 2]; 6] = [[1, 40], [5, 4], [24, 128], [9, 132], [16, 200], [33, 260]];

/// Whole matrix, rows, and two N:M, of which one does not divide a block of 128.
fn patterns() -> [Pattern; 5] {
    [
        Pattern::unstructured(0.5, Scope::Matrix).unwrap(),
        Pattern::unstructured(0.7, Scope::Matrix).unwrap(),
        Pattern::unstructured(0.6, Scope::Row).unwrap(),
        Pattern::NM { n: 2, m: 4 },
        Pattern::NM { n: 3, m: 5 },
    ]
}

/// Solves a layer on a device.
fn solve(gpu: &Gpu, layer: &Layer, method: &dyn Method, pattern: Pattern) -> LayerSolution {
    let inputs = layer.inputs(gpu);
    let problem = LayerProblem::new(gpu, &inputs, [layer.rows, layer.cols], &layer.weight, pattern).unwrap();
    method.solve(gpu, &problem).unwrap()
}

/// At least 99.9 % of the support are the plain version's, and where a row's support is, its weights are close.
fn assert_same(what: &str, gpu: &Gpu, layer: &Layer, found: &LayerSolution, wanted: &Classic, tolerance: f64) {
    let support = found.support.fetch(gpu).unwrap();
    let v = layer.oracle().unscale(&f64s(&found.weight.fetch(gpu).unwrap()));
    let kept = support.iter().filter(|s| **s != 0.0).count();
    assert_eq!(kept, wanted.mask.iter().filter(|s| **s).count(), "{what}: weights kept");
    let other = support
        .iter()
        .zip(&wanted.mask)
        .filter(|(s, w)| (**s != 0.0) != **w)
        .count();
    assert!(
        1000 * other <= support.len(),
        "{what}: {other} of {} masks differ",
        support.len()
    );
    let (mut difference, mut norm) = (0.0, 0.0);
    for row in 0..layer.rows {
        let at = row * layer.cols..(row + 1) * layer.cols;
        let same = support[at.clone()]
            .iter()
            .zip(&wanted.mask[at.clone()])
            .all(|(s, w)| (*s != 0.0) == *w);
        for (v, w) in v[at.clone()].iter().zip(&wanted.weight[at]).filter(|_| same) {
            difference += (v - w) * (v - w);
            norm += w * w;
        }
    }
    let error = (difference / norm).sqrt();
    eprintln!(
        "{what}: relative error {error:.2e}, {other} of {} masks differ",
        support.len()
    );
    assert!(
        error <= tolerance,
        "{what}: relative error {error:.2e} > {tolerance:.2e}, {other} masks differ"
    );
}
