//! Correlated updates: what the remaining weights become when any set Q of weights is zero (methods: LLM Surgeon, eq. 12).
//!
//! `min 1/2 ⟨D, G~ D A~⟩` with `(W + D)_Q = 0` has `D = − Gi M Ai`, M zero off Q, `M_Q = K⁻¹ w_Q`, `K = Gi[r,r'] ∘ Ai[c,c']`.
//! Q is cut into chunks of consecutive rows, each solved exactly given what the earlier ones did (`addupdate`): block
//! Gauss-Seidel on the dual, of which the published code does one sweep. After all, W is zeroed on Q. As published, Q
//! holds the zeros of earlier shots too, so that each chunk holds its own of them fixed.
//!
//! Gi and Ai each touch only the rows of the chunk: with q entries in a chunk, p in a row and R in all, a shot takes
//! about `R q²` flops for the solves and `2 m n (m + n) (1 + p/q)` for the products. For 1536 x 576 at 10 %, R = 88 k:
//! q = 256 has 6 + 5 Gflop, 512 has 23 + 4, 1024 has 93 + 4, 2000 (as published) 354 + 4; and on correlated factors the
//! objective, of what plain zeroing leaves, is .2672, .2660, .2654, .2652. At 50 % 512 has 116 + 6 Gflop, 1024 has 464 + 5
//! for .4329 and .4210. A pass for the curvature over T tokens is 6 T flops per weight, the solves `q²` per zero: with
//! T = 131072 a third of a pass at 512 were all weights zero. Hence 512; where there is time, `sweeps` buys more than size.

use std::cell::Cell;

use super::curvature::{Curvature, vector};
use crate::gpu::{Gpu, GpuError, Recording};
use crate::linalg::{self, Pivots};
use crate::ops::dense;
use crate::ops::factor::{self, KronGather};
use crate::prune::PruneError;
use crate::prune::damping::escalate;
use crate::tensor::{PanelMatrix, Tensor};

/// How the set is cut.
#[derive(Clone, Copy, Debug)]
pub struct UpdateSettings {
    /// Entries of a chunk at most; longer rows are split.
    pub max_correlate: usize,
    /// Passes over the chunks: 1 as published; more converge to the joint optimum.
    pub sweeps: usize,
}

impl Default for UpdateSettings {
    fn default() -> Self {
        UpdateSettings {
            max_correlate: 512,
            sweeps: 1,
        }
    }
}

/// What an update did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Updated {
    /// [`Curvature::objective`] had the weights only been zeroed.
    pub zeroed: f64,
    /// The same of the result.
    pub objective: f64,
    /// The update was worse than zeroing, which was done instead (chunks that see too little of each other).
    pub rejected: bool,
    /// Factorisations repeated with more damping.
    pub escalations: usize,
    /// Chunks.
    pub chunks: usize,
}

/// Zeroes `w` `[outputs, inputs]` where `support` is 0 and lets the others make up for it, in place. What must fit beside the
/// curvature: six matrices of w's size, two squares of a chunk's. Only windows of w's rows are bound by the update
/// itself, but the objective binds whole ones.
pub fn correlated_update(
    gpu: &Gpu,
    curvature: &Curvature,
    w: &Tensor,
    support: &Tensor,
    settings: &UpdateSettings,
) -> Result<Updated, PruneError> {
    curvature.check(w);
    let chunks = chunks(&support.fetch(gpu)?, w.cols(), settings.max_correlate.max(1));
    if chunks.is_empty() {
        return Ok(Updated::default());
    }
    let original = copied(gpu, "weight before", w)?;
    let escalations = solve(gpu, curvature, [&original, w], &chunks, settings.sweeps)?;
    let zeroed = copied(gpu, "zeroed weight", &original)?;
    let mut recording = Recording::new();
    dense::multiply(&mut recording, support, w);
    dense::multiply(&mut recording, support, &zeroed);
    gpu.submit(recording)?;
    let [least, objective] = [
        distance(gpu, curvature, [&original, &zeroed])?,
        distance(gpu, curvature, [&original, w])?,
    ];
    // NaN is not better.
    let better = objective <= least;
    if !better {
        let mut recording = Recording::new();
        recording.copy(&zeroed.slice(), &w.slice());
        gpu.submit(recording)?;
    }
    Ok(Updated {
        zeroed: least,
        objective: if better { objective } else { least },
        rejected: !better,
        escalations,
        chunks: chunks.len(),
    })
}

/// All sweeps over the chunks, from `original` into w; with more damping from the start again if a pivot fails, which is
/// returned how often.
fn solve(
    gpu: &Gpu,
    curvature: &Curvature,
    [original, w]: [&Tensor; 2],
    chunks: &[Chunk],
    sweeps: usize,
) -> Result<usize, PruneError> {
    let failures = Cell::new(0);
    escalate(&curvature.outputs.place, &failures, |shift| {
        let mut recording = Recording::new();
        recording.copy(&original.slice(), &w.slice());
        let pivots = Pivots::new(gpu, &mut recording)?;
        gpu.submit(recording)?;
        for chunk in (0..sweeps).flat_map(|_| chunks) {
            let mut recording = Recording::new();
            chunk.record(&mut recording, gpu, curvature, w, (shift, &pivots))?;
            // Now, because the scratch of a chunk lives as long as its recording.
            gpu.submit(recording)?;
        }
        let mut recording = Recording::new();
        let id = pivots.read(&mut recording);
        Pivots::failed(&gpu.submit(recording)?, id)
    })?;
    Ok(failures.get())
}

/// A matrix with the same contents, now.
fn copied(gpu: &Gpu, label: &str, x: &Tensor) -> Result<Tensor, GpuError> {
    let copy = Tensor::empty(gpu, label, x.rows(), x.cols())?;
    let mut recording = Recording::new();
    recording.copy(&x.slice(), &copy.slice());
    gpu.submit(recording)?;
    Ok(copy)
}

/// Objective of a change from one weight to another.
fn distance(gpu: &Gpu, curvature: &Curvature, [from, to]: [&Tensor; 2]) -> Result<f64, GpuError> {
    let difference = copied(gpu, "difference", to)?;
    let mut recording = Recording::new();
    dense::axpby(&mut recording, -1.0, from, 1.0, &difference);
    gpu.submit(recording)?;
    curvature.objective(gpu, &difference)
}

/// Weights solved for together.
#[derive(Debug, PartialEq, Eq)]
struct Chunk {
    /// First row, and rows from there on.
    first: usize,
    rows: usize,
    /// Row times columns plus column, ascending.
    places: Vec<u32>,
}

/// Chunks of at most `most` zeros of the support; whole consecutive rows unless one has more than that.
fn chunks(support: &[f32], cols: usize, most: usize) -> Vec<Chunk> {
    let mut chunks: Vec<Vec<u32>> = Vec::new();
    for (row, line) in support.chunks(cols).enumerate() {
        let zeros = line.iter().enumerate().filter(|(_, s)| **s == 0.0);
        let zeros: Vec<u32> = zeros.map(|(col, _)| (row * cols + col) as u32).collect();
        match chunks.last_mut() {
            Some(last) if last.len() + zeros.len() <= most => last.extend(&zeros),
            _ => chunks.extend(zeros.chunks(most).map(<[u32]>::to_vec)),
        }
    }
    let row = |place: Option<&u32>| place.map_or(0, |p| *p as usize / cols);
    let chunk = |places: Vec<u32>| {
        let (first, last) = (row(places.first()), row(places.last()));
        Chunk {
            first,
            rows: last + 1 - first,
            places,
        }
    };
    chunks.into_iter().map(chunk).collect()
}

impl Chunk {
    /// Records `w −= Gi M Ai` with w zero at the chunk's places then.
    fn record(
        &self,
        recording: &mut Recording,
        gpu: &Gpu,
        curvature: &Curvature,
        w: &Tensor,
        (shift, pivots): (f32, &Pivots),
    ) -> Result<(), GpuError> {
        let (outputs, inputs, cols) = (&curvature.outputs, &curvature.inputs, w.cols());
        let places = gpu.upload("places", bytemuck::cast_slice(&self.places))?.slice();
        let unit = |p: &u32| outputs.unit(*p as usize / cols) * inputs.unit(*p as usize % cols);
        let scale = vector(gpu, "unit scale", self.places.iter().map(unit))?;
        let count = self.places.len();
        let rows = [self.first, self.rows];
        let g = (outputs.inverse).copied_rows(recording, gpu, "rows of the inverse", rows)?;
        let call = KronGather {
            places: &places,
            scale: &scale,
            g: &g,
            g_first: self.first,
            a: &inputs.inverse,
        };
        let coupling = PanelMatrix::zeros(gpu, recording, "coupling", count)?;
        factor::kron_gather(recording, &call, &coupling);
        let inverse = coupling.empty_like(gpu, "inverse coupling")?;
        linalg::inverse(recording, gpu, [&coupling, &inverse], shift, pivots)?;
        let values = |label| Tensor::empty(gpu, label, 1, count);
        let (lost, solved) = (values("weights removed")?, values("multipliers")?);
        let height = w.window_rows(gpu, w.rows());
        for first in (0..w.rows()).step_by(height) {
            let window = w.row_window(first, height.min(w.rows() - first));
            dense::points_gather(recording, &places, &scale, first, &window, &lost);
        }
        for (first, panel) in inverse.panels() {
            dense::gemv(recording, panel, &lost, first, &solved);
        }
        let multipliers = Tensor::zeros(gpu, recording, "multipliers", self.rows, cols)?;
        dense::points_scatter(recording, &places, [&scale, &solved], self.first, &multipliers);
        let spread = Tensor::empty(gpu, "multipliers times inverse", self.rows, cols)?;
        linalg::multiply(recording, gpu, -1.0, &multipliers, &inputs.inverse, &spread);
        linalg::add_product(recording, gpu, [&g, &spread], w);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_rows_unless_one_is_too_long() {
        // Zeros per row: 1, 0, 2, 5, 0, 1.
        let support = [
            [1.0, 0.0, 1.0, 1.0, 1.0],
            [1.0; 5],
            [0.0, 1.0, 1.0, 1.0, 0.0],
            [0.0; 5],
            [1.0; 5],
            [1.0, 1.0, 1.0, 1.0, 0.0],
        ];
        let chunk = |first, rows, places: &[u32]| Chunk {
            first,
            rows,
            places: places.to_vec(),
        };
        let wanted = [
            chunk(0, 3, &[1, 10, 14]),
            chunk(3, 1, &[15, 16, 17]),
            chunk(3, 3, &[18, 19, 29]),
        ];
        assert_eq!(chunks(support.as_flattened(), 5, 3), wanted);
        let all = chunks(support.as_flattened(), 5, 100);
        assert_eq!(all, [chunk(0, 6, &[1, 10, 14, 15, 16, 17, 18, 19, 29])]);
        assert_eq!(chunks(&[1.0; 10], 5, 3), []);
    }
}
