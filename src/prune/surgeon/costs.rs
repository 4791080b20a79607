//! What it costs to remove a weight, a group of N:M, a row or a column (methods: LLM Surgeon, eq. 8-10).
//!
//! With `Gi = G~⁻¹`, `Ai = A~⁻¹`: weight `1/2 w² / (Gi_ii Ai_jj)`; group of N:M the sum over its M − N cheapest; row
//! `1/2 (W_i A W_iᵀ) / Gi_ii`; column `1/2 (W_jᵀ G W_j) / Ai_jj`. The quadratic forms are not damped, as published.

use super::allocate::CostHistogram;
use super::curvature::{Curvature, KroneckerFactor, vector};
use crate::gpu::{Gpu, GpuError, Recording};
use crate::linalg;
use crate::ops::dense::{self, RowReduce};
use crate::ops::prox::{self, Keep};
use crate::reference::prox::cost_histogram::COST_BINS;
use crate::tensor::Tensor;

/// Which diagonal a cost divides or multiplies by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Saliency {
    /// That of the damped inverse: the others make up for what is removed.
    #[default]
    Obs,
    /// That of the factor itself: the others stay.
    Obd,
}

impl Saliency {
    /// What a cost is multiplied by for a channel, over the mean of its side; 0 if it is dead.
    fn of(self, side: &KroneckerFactor, channel: usize) -> f64 {
        match self {
            Saliency::Obs => side.unit(channel) * side.unit(channel),
            Saliency::Obd => side.diagonal[channel],
        }
    }
}

/// What is removed as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// Single weights.
    Weights,
    /// All but the `n` dearest of every `m` consecutive weights of a row.
    Groups {
        /// Kept per group.
        n: usize,
        /// Group length, at most [`crate::prune::Pattern::MAX_M`].
        m: usize,
    },
}

/// Costs of one linear on the device: two matrices of its size, and two smaller ones for groups.
pub struct Costs {
    weights: Tensor,
    groups: Option<Groups>,
}

struct Groups {
    pattern: [usize; 2],
    cost: Tensor,
    open: Tensor,
}

impl Costs {
    /// Costs of the weights of `w` `[outputs, inputs]`, or of its groups. Panics if groups do not divide its width
    /// ([`crate::prune::Pattern::check_width`]).
    pub fn new(
        gpu: &Gpu,
        curvature: &Curvature,
        w: &Tensor,
        saliency: Saliency,
        grain: Grain,
    ) -> Result<Self, GpuError> {
        curvature.check(w);
        let roots = Tensor::empty(gpu, "roots of costs", w.rows(), w.cols())?;
        // The root of each half: squares of small numbers would leave f32.
        let root = |side: &KroneckerFactor, i| (side.mean * saliency.of(side, i) * 0.5f64.sqrt()).sqrt();
        let row = vector(gpu, "row weights", (0..w.rows()).map(|i| root(&curvature.outputs, i)))?;
        let col = vector(gpu, "column weights", (0..w.cols()).map(|j| root(&curvature.inputs, j)))?;
        let mut recording = Recording::new();
        recording.copy(&w.slice(), &roots.slice());
        dense::scale(&mut recording, &roots, &row, &col);
        Self::squared(recording, gpu, &roots, w, grain)
    }

    /// Costs that are the squares of `roots`, of which `recording` ends with the last.
    pub(super) fn squared(
        mut recording: Recording,
        gpu: &Gpu,
        roots: &Tensor,
        w: &Tensor,
        grain: Grain,
    ) -> Result<Self, GpuError> {
        let [rows, cols] = w.shape();
        let weights = Tensor::empty(gpu, "costs", rows, cols)?;
        recording.copy(&roots.slice(), &weights.slice());
        dense::multiply(&mut recording, roots, &weights);
        let groups = match grain {
            Grain::Weights => None,
            Grain::Groups { n, m } => {
                let small = |label| Tensor::empty(gpu, label, rows, cols / m);
                let groups = Groups {
                    pattern: [n, m],
                    cost: small("group costs")?,
                    open: small("open groups")?,
                };
                let out = [&groups.cost, &groups.open];
                prox::group_cost(&mut recording, [&weights, w], groups.pattern, out);
                Some(groups)
            }
        };
        gpu.submit(recording)?;
        Ok(Costs { weights, groups })
    }

    /// Costs of the weights.
    pub fn weights(&self) -> &Tensor {
        &self.weights
    }

    /// Costs of the groups, `[outputs, inputs / m]`.
    pub fn groups(&self) -> Option<&Tensor> {
        self.groups.as_ref().map(|groups| &groups.cost)
    }

    /// Counts them by their leading bits; weights of `w` that are zero, and groups with their zeros, count as done.
    pub fn histogram(&self, gpu: &Gpu, w: &Tensor) -> Result<CostHistogram, GpuError> {
        let (costs, open) = match &self.groups {
            None => (&self.weights, w),
            Some(groups) => (&groups.cost, &groups.open),
        };
        let mut recording = Recording::new();
        let histogram = Tensor::zeros(gpu, &mut recording, "cost histogram", 1, COST_BINS)?;
        prox::cost_histogram(&mut recording, costs, open, &histogram);
        let id = recording.read(&histogram.slice());
        let counts = gpu.submit(recording)?.words(id)?;
        Ok(CostHistogram::new(&counts, costs.len() as u64))
    }

    /// 1 where a weight of `w` stays when exactly `removed` weights or groups are removed, the cheapest (equal costs: the
    /// higher index), those that are done already counted. Every zero of `w` stays zero.
    pub fn keep(&self, gpu: &Gpu, w: &Tensor, removed: u64) -> Result<Tensor, GpuError> {
        let [rows, cols] = w.shape();
        let support = Tensor::empty(gpu, "support", rows, cols)?;
        let kept = Tensor::empty(gpu, "kept costs", rows, cols)?;
        let mut recording = Recording::new();
        match &self.groups {
            None => {
                let keep = left(self.weights.len(), removed);
                let scope = prox::Scope::Matrix;
                prox::keep_largest(&mut recording, gpu, &self.weights, w, scope, keep, &kept, &support)?;
            }
            Some(groups) => {
                let [n, m] = groups.pattern;
                prox::project_nm(&mut recording, &self.weights, w, n, m, &kept, &support);
                groups.spare(&mut recording, gpu, removed, [&support, &kept])?;
                free(&mut recording, gpu, w, [&support, &kept])?;
            }
        }
        gpu.submit(recording)?;
        Ok(support)
    }
}

fn left(total: usize, removed: u64) -> Keep {
    Keep {
        count: total.saturating_sub(removed as usize),
    }
}

impl Groups {
    /// Records that all but `removed` groups keep all their weights in `support`; `scratch` is as large.
    fn spare(
        &self,
        recording: &mut Recording,
        gpu: &Gpu,
        removed: u64,
        [support, scratch]: [&Tensor; 2],
    ) -> Result<(), GpuError> {
        let [rows, width] = self.cost.shape();
        let count = rows * width;
        let small = |label| Tensor::empty(gpu, label, rows, width);
        let (values, spared) = (small("spared costs")?, small("spared groups")?);
        let (keep, scope) = (left(count, removed), prox::Scope::Matrix);
        prox::keep_largest(recording, gpu, &self.cost, &self.open, scope, keep, &values, &spared)?;
        // support = support (1 - spared) + spared, group by group.
        let lost = Tensor::upload(gpu, "lost groups", 1, count, &vec![1.0; count])?;
        let spared = spared.reshaped(1, count);
        dense::axpby(recording, -1.0, &spared, 1.0, &lost);
        let m = self.pattern[1];
        let ones = vector(gpu, "ones", (0..m).map(|_| 1.0))?;
        let [support, scratch] = [support, scratch].map(|t| t.reshaped(count, m));
        dense::scale(recording, &support, &lost, &ones);
        fill(recording, gpu, &scratch)?;
        dense::scale(recording, &scratch, &spared, &ones);
        dense::axpby(recording, 1.0, &scratch, 1.0, &support);
        Ok(())
    }
}

/// Records ones.
fn fill(recording: &mut Recording, gpu: &Gpu, x: &Tensor) -> Result<(), GpuError> {
    let ones = Tensor::upload(gpu, "ones", x.rows(), x.cols(), &vec![1.0; x.len()])?;
    recording.copy(&ones.slice(), &x.slice());
    Ok(())
}

/// Records `support *= 1` where w is not zero, 0 elsewhere; `scratch` is overwritten.
fn free(recording: &mut Recording, gpu: &Gpu, w: &Tensor, [support, scratch]: [&Tensor; 2]) -> Result<(), GpuError> {
    let all = Keep { count: w.len() };
    let mask = Tensor::empty(gpu, "weights that are not zero", w.rows(), w.cols())?;
    prox::keep_largest(recording, gpu, w, w, prox::Scope::Matrix, all, scratch, &mask)?;
    dense::multiply(recording, &mask, support);
    Ok(())
}

/// Cost of each row of `w` `[outputs, inputs]`.
pub fn row_costs(gpu: &Gpu, curvature: &Curvature, w: &Tensor, saliency: Saliency) -> Result<Vec<f64>, GpuError> {
    line_costs(gpu, w, [&curvature.outputs, &curvature.inputs], saliency)
}

/// Cost of each column of `w` `[outputs, inputs]`.
pub fn column_costs(gpu: &Gpu, curvature: &Curvature, w: &Tensor, saliency: Saliency) -> Result<Vec<f64>, GpuError> {
    let turned = transposed(gpu, w)?;
    line_costs(gpu, &turned, [&curvature.inputs, &curvature.outputs], saliency)
}

/// `wᵀ`, now.
pub(super) fn transposed(gpu: &Gpu, w: &Tensor) -> Result<Tensor, GpuError> {
    let out = Tensor::empty(gpu, "transposed weight", w.cols(), w.rows())?;
    let mut recording = Recording::new();
    dense::transpose(&mut recording, w, &out);
    gpu.submit(recording)?;
    Ok(out)
}

/// Costs of the rows of x: `across` has a channel for each row, `along` one for each column.
fn line_costs(
    gpu: &Gpu,
    x: &Tensor,
    [across, along]: [&KroneckerFactor; 2],
    saliency: Saliency,
) -> Result<Vec<f64>, GpuError> {
    let product = Tensor::empty(gpu, "weight times factor", x.rows(), x.cols())?;
    let sums = Tensor::empty(gpu, "row sums", 1, x.rows())?;
    let mut recording = Recording::new();
    linalg::multiply(&mut recording, gpu, 1.0, x, &along.factor, &product);
    dense::row_reduce(&mut recording, RowReduce::Dot, &product, x, &sums);
    let id = recording.read(&sums.slice());
    let forms = gpu.submit(recording)?.floats(id)?;
    let unit = 0.5 * across.mean * along.mean;
    let cost = |(i, form): (usize, &f32)| unit * saliency.of(across, i) * f64::from(form.max(0.0));
    Ok(forms.iter().enumerate().map(cost).collect())
}
