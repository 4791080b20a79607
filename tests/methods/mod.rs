//! T5: methods against plain versions of the published ones, on whole layers.

mod classic;
mod low_rank;
mod masks;
mod redundancy;
mod sparsegpt;
pub(crate) mod surgeon;
mod surgeon_costs;
mod surgeon_lines;
mod surgeon_metric;
mod surgeon_nearest;
mod surgeon_updates;

use secateur::gpu::{Gpu, Recording};
use secateur::prune::{DampingRule, LayerProblem, LayerSolution, Method, Pattern, Scope};

use self::classic::Classic;
use crate::common::f64s;
use crate::laws::problem::Layer;

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

/// What a method found on a device, in the coordinates of the weights.
struct Found {
    solution: LayerSolution,
    weight: Vec<f64>,
    support: Vec<f32>,
}

/// Solves a layer on a device; `None` if the pattern does not fit it.
fn solve(gpu: &Gpu, layer: &Layer, method: &dyn Method, pattern: Pattern, rule: DampingRule) -> Option<Found> {
    pattern.check_width("test", layer.cols).ok()?;
    let inputs = layer.inputs_damped(gpu, rule);
    let problem = LayerProblem::new(gpu, &inputs, [layer.rows, layer.cols], &layer.weight, pattern).unwrap();
    let solution = method.solve(gpu, &problem).unwrap();
    let mut recording = Recording::new();
    inputs.leave(&mut recording, gpu, &solution.weight).unwrap();
    gpu.submit(recording).unwrap();
    Some(Found {
        weight: f64s(&solution.weight.fetch(gpu).unwrap()),
        support: solution.support.fetch(gpu).unwrap(),
        solution,
    })
}

/// At least 99.9 % of the support are the plain version's, and where a row's support is, its weights are close.
fn assert_same(what: &str, cols: usize, found: &Found, wanted: &Classic, tolerance: f64) {
    let kept: Vec<bool> = found.support.iter().map(|s| *s != 0.0).collect();
    let count = |mask: &[bool]| mask.iter().filter(|s| **s).count();
    assert_eq!(count(&kept), count(&wanted.mask), "{what}: weights kept");
    let other = kept.iter().zip(&wanted.mask).filter(|(s, w)| s != w).count();
    assert!(
        1000 * other <= kept.len(),
        "{what}: {other} of {} masks differ",
        kept.len()
    );
    let (mut difference, mut norm) = (0.0, 0.0);
    for at in (0..kept.len()).step_by(cols).map(|first| first..first + cols) {
        if kept[at.clone()] == wanted.mask[at.clone()] {
            for (v, w) in found.weight[at.clone()].iter().zip(&wanted.weight[at]) {
                difference += (v - w) * (v - w);
                norm += w * w;
            }
        }
    }
    let error = (difference / norm).sqrt();
    assert!(
        error <= tolerance,
        "{what}: relative error {error:.2e} > {tolerance:.2e}, {other} masks differ"
    );
}
