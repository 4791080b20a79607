//! The two factors of a linear's curvature, damped and inverted.
//!
//! A factor is kept as `F / mean` (mean over the channels that are not dead), so that numbers are near one whatever the
//! scale of activations or gradients; `mean` goes into costs at the end. Damping adds `d mean` to the diagonal, as
//! published, or `d` times each element of it ([`crate::prune::DampingRule`]). The inverse is made of the matrix scaled
//! to a unit diagonal, because real Grams have condition numbers of 1e8, and scaled back.
//!
//! The published code multiplies G and divides A by `sqrt(|A| / |G|)` (IAD). With damping relative to the diagonal that
//! factor cancels in every cost and update, and where linears share A each would want its own: it is not applied, but
//! [`Curvature::iad`] has it.
//!
//! A channel without any energy is dead: it is coupled to nothing, its weights cost nothing and make nothing up. A factor
//! without any token, of an expert that none was routed to, is taken as the identity: magnitudes decide.

use std::cell::Cell;
use std::rc::Rc;

use crate::gpu::{Gpu, GpuError, Recording};
use crate::linalg::{self, Pivots, largest_eigenvalue};
use crate::ops::dense::{self, RowReduce};
use crate::prune::PruneError;
use crate::prune::damping::{Damping, escalate};
use crate::prune::inputs::{DEAD, ones, read_diagonal};
use crate::prune::row_sums::sum;
use crate::tensor::{PanelMatrix, Tensor};

/// Products of the power iteration behind a step size.
const POWER_STEPS: usize = 48;

/// One factor: of a linear's outputs (G) or of a group's inputs (A). Holds two square matrices.
pub struct KroneckerFactor {
    /// `F / mean`, not damped.
    pub(super) factor: PanelMatrix,
    /// `(F / mean + R)⁻¹`.
    pub(super) inverse: PanelMatrix,
    /// Diagonal of the factor.
    pub(super) diagonal: Vec<f64>,
    /// Diagonal of the inverse.
    pub(super) inverse_diagonal: Vec<f64>,
    pub(super) mean: f64,
    /// `1 / sqrt(diagonal of the damped factor)`.
    pub(super) scale: Vec<f64>,
    /// The diagonal of R, the damping, `[1, n]`.
    ridge: Tensor,
    /// As many ones.
    ones: Tensor,
    pub(super) place: String,
    /// At least the largest eigenvalue of the damped factor scaled to a unit diagonal.
    pub(super) lipschitz: f64,
    norm: f64,
    /// Tokens in the sum.
    tokens: usize,
    pub(super) escalations: Cell<usize>,
}

impl KroneckerFactor {
    /// From raw sums over `count` tokens, complete (mirrored), which are used up: `Σ x xᵀ` or `Σ g gᵀ`. Published is a
    /// `damping` by the mean, 0.01 of inputs, of outputs 0.1 for weights and N:M, else 0.01; `place` names layer and linear
    /// in errors. Beside the sums one square matrix must fit.
    pub fn prepare(
        gpu: &Gpu,
        sum: PanelMatrix,
        count: usize,
        damping: Damping,
        place: &str,
    ) -> Result<Self, PruneError> {
        if count == 0 {
            fill_diagonal(gpu, &sum)?;
        }
        let (energy, mean) = energies(gpu, &sum, count, place)?;
        let diagonal: Vec<f64> = energy.iter().map(|v| v / mean).collect();
        let ridge: Vec<f64> = diagonal.iter().map(|v| damping.of(v.max(DEAD), 1.0) - v).collect();
        let scale: Vec<f64> = (diagonal.iter().zip(&ridge)).map(|(v, r)| unit_scale(*v, *r)).collect();
        let back: Vec<f64> = scale.iter().map(|e| 1.0 / e).collect();
        let mut recording = Recording::new();
        scale_both(&mut recording, gpu, &sum, &scale, 1.0 / (mean * count.max(1) as f64))?;
        gpu.submit(recording)?;
        let damped = scale.iter().zip(&ridge).map(|(e, r)| r * e * e).fold(0.0, f64::max);
        // A matrix with a unit diagonal has an eigenvalue of at least one.
        let lipschitz = (largest_eigenvalue(gpu, &sum, POWER_STEPS)?.upper() + damped).max(1.0);
        let escalations = Cell::new(0);
        let inverse = invert(gpu, &sum, (place, &escalations))?;
        let mut recording = Recording::new();
        scale_both(&mut recording, gpu, &inverse, &scale, 1.0)?;
        scale_both(&mut recording, gpu, &sum, &back, 1.0)?;
        gpu.submit(recording)?;
        let inverse_diagonal = read_diagonal(gpu, &inverse)?.into_iter().map(f64::from);
        Ok(KroneckerFactor {
            norm: norm(gpu, &sum)?,
            factor: sum,
            inverse,
            diagonal,
            inverse_diagonal: inverse_diagonal.collect(),
            mean,
            ridge: vector(gpu, "ridge", ridge.iter().copied())?,
            ones: ones(gpu, scale.len())?,
            scale,
            lipschitz,
            place: place.to_string(),
            tokens: count,
            escalations,
        })
    }

    /// The factor times a number: what costs are to be counted in.
    pub fn times(self, factor: f64) -> Self {
        KroneckerFactor {
            mean: self.mean * factor,
            ..self
        }
    }

    /// Tokens in it.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Channels.
    pub fn n(&self) -> usize {
        self.diagonal.len()
    }

    /// Channels without any energy.
    pub fn dead(&self) -> usize {
        self.diagonal.iter().filter(|v| **v == 0.0).count()
    }

    /// Mean energy of the others, per token.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Energy of every channel per token: the diagonal of the factor.
    pub fn energy(&self) -> Vec<f64> {
        self.diagonal.iter().map(|v| v * self.mean).collect()
    }

    /// `‖(V − W) X‖²` and `‖W X‖²` per token, of the inputs' side.
    pub fn layer_error(&self, gpu: &Gpu, w: &Tensor, v: &Tensor) -> Result<[f64; 2], GpuError> {
        let scratch = |label| Tensor::empty(gpu, label, w.rows(), w.cols());
        let (difference, product) = (scratch("difference")?, scratch("difference times factor")?);
        let mut recording = Recording::new();
        let mut ids = Vec::new();
        recording.copy(&v.slice(), &difference.slice());
        dense::axpby(&mut recording, -1.0, w, 1.0, &difference);
        for x in [&difference, w] {
            let sums = Tensor::empty(gpu, "row sums", 1, w.rows())?;
            linalg::multiply(&mut recording, gpu, 1.0, x, &self.factor, &product);
            dense::row_reduce(&mut recording, RowReduce::Dot, x, &product, &sums);
            ids.push(recording.read(&sums.slice()));
        }
        let done = gpu.submit(recording)?;
        let error = |id| Ok(sum(&done, id)?.max(0.0) * self.mean);
        Ok([error(ids[0])?, error(ids[1])?])
    }

    /// How often an inversion, of it or of a block of its inverse, failed and was repeated with more damping.
    pub fn escalations(&self) -> usize {
        self.escalations.get()
    }

    /// Whether a channel has any energy.
    pub(super) fn alive(&self, channel: usize) -> bool {
        self.diagonal[channel] > 0.0
    }

    /// `1 / sqrt(diagonal of the inverse)`, 0 for a dead channel.
    pub(super) fn unit(&self, channel: usize) -> f64 {
        if self.alive(channel) {
            1.0 / self.inverse_diagonal[channel].sqrt()
        } else {
            0.0
        }
    }
}

/// The curvature of one linear.
#[derive(Clone)]
pub struct Curvature {
    /// G, of the gradients at its outputs.
    pub outputs: Rc<KroneckerFactor>,
    /// A, of its inputs; one for all linears of a group.
    pub inputs: Rc<KroneckerFactor>,
}

impl Curvature {
    /// Panics unless w is `[outputs, inputs]`.
    pub(super) fn check(&self, w: &Tensor) {
        assert_eq!(
            w.shape(),
            [self.outputs.n(), self.inputs.n()],
            "`{}`: shape of its curvature",
            w.label()
        );
    }

    /// Whether no token came by: only magnitudes are known.
    pub fn unseen(&self) -> bool {
        self.inputs.tokens == 0
    }

    /// Product of the means: what costs are multiplied by.
    pub fn unit(&self) -> f64 {
        self.outputs.mean * self.inputs.mean
    }

    /// What the published code multiplies G and A with: equal Frobenius norms, the same product. 1 if either is zero.
    pub fn iad(&self) -> [f64; 2] {
        let [g, a] = [&self.outputs, &self.inputs].map(|side| side.norm * side.mean);
        let factor = if g > 0.0 && a > 0.0 { (a / g).sqrt() } else { 1.0 };
        [factor, 1.0 / factor]
    }

    /// `1/2 ⟨D, G~ D A~⟩` of a difference `[outputs, inputs]`, damped: what updates make small.
    pub fn objective(&self, gpu: &Gpu, difference: &Tensor) -> Result<f64, GpuError> {
        let [rows, cols] = difference.shape();
        let scratch = |label| Tensor::empty(gpu, label, rows, cols);
        let (half, product) = (scratch("half a metric")?, scratch("metric")?);
        let sums = Tensor::empty(gpu, "row sums", 1, rows)?;
        let mut recording = Recording::new();
        self.metric(&mut recording, gpu, difference, [&half, &product])?;
        dense::row_reduce(&mut recording, RowReduce::Dot, difference, &product, &sums);
        let id = recording.read(&sums.slice());
        Ok(0.5 * self.unit() * sum(&gpu.submit(recording)?, id)?)
    }

    /// Records `half = X A~`, `out = G~ X A~`, both over their means.
    pub(super) fn metric(
        &self,
        recording: &mut Recording,
        gpu: &Gpu,
        x: &Tensor,
        [half, out]: [&Tensor; 2],
    ) -> Result<(), GpuError> {
        let (outputs, inputs) = (&self.outputs, &self.inputs);
        linalg::multiply(recording, gpu, 1.0, x, &inputs.factor, half);
        recording.copy(&x.slice(), &out.slice());
        dense::scale(recording, out, &outputs.ones, &inputs.ridge);
        dense::axpby(recording, 1.0, out, 1.0, half);
        linalg::multiply_left(recording, gpu, &outputs.factor, half, out)?;
        dense::scale(recording, half, &outputs.ridge, &inputs.ones);
        dense::axpby(recording, 1.0, half, 1.0, out);
        Ok(())
    }
}

/// Energy of each channel per token, 0 for dead ones, and the mean of the others.
fn energies(gpu: &Gpu, sum: &PanelMatrix, count: usize, place: &str) -> Result<(Vec<f64>, f64), PruneError> {
    let diagonal = read_diagonal(gpu, sum)?;
    if let Some(index) = diagonal.iter().position(|v| !v.is_finite()) {
        let place = place.to_string();
        return Err(PruneError::NonFiniteCurvature { place, index });
    }
    let live = |v: &f32| if *v < f32::MIN_POSITIVE { 0.0 } else { f64::from(*v) };
    let energy: Vec<f64> = diagonal.iter().map(|v| live(v) / count.max(1) as f64).collect();
    let alive = energy.iter().filter(|v| **v > 0.0).count();
    let mean = energy.iter().sum::<f64>() / alive.max(1) as f64;
    Ok((energy, if alive == 0 { 1.0 } else { mean }))
}

/// Makes zeros the identity.
fn fill_diagonal(gpu: &Gpu, matrix: &PanelMatrix) -> Result<(), GpuError> {
    let ones = ones(gpu, matrix.n())?;
    let mut recording = Recording::new();
    for (first, panel) in matrix.panels() {
        dense::set_diagonal(&mut recording, &ones, first, panel);
    }
    gpu.submit(recording)?;
    Ok(())
}

/// Inverse of a matrix scaled to a unit diagonal, which is taken as one; with as much more on it as it needs.
pub(super) fn invert(
    gpu: &Gpu,
    matrix: &PanelMatrix,
    (place, escalations): (&str, &Cell<usize>),
) -> Result<PanelMatrix, PruneError> {
    let inverse = matrix.empty_like(gpu, "inverse")?;
    escalate(place, escalations, |shift| {
        let mut recording = Recording::new();
        let pivots = Pivots::new(gpu, &mut recording)?;
        linalg::inverse(&mut recording, gpu, [matrix, &inverse], shift, &pivots)?;
        let id = pivots.read(&mut recording);
        Pivots::failed(&gpu.submit(recording)?, id)
    })?;
    Ok(inverse)
}

/// Takes a diagonal element of the damped factor to one; without damping a dead one would be divided by zero.
fn unit_scale(energy: f64, ridge: f64) -> f64 {
    let damped = if energy > 0.0 { energy + ridge } else { ridge.max(1e-6) };
    1.0 / damped.sqrt()
}

/// A row vector.
pub(super) fn vector(gpu: &Gpu, label: &str, values: impl Iterator<Item = f64>) -> Result<Tensor, GpuError> {
    let values: Vec<f32> = values.map(|v| v as f32).collect();
    Tensor::upload(gpu, label, 1, values.len(), &values)
}

/// Records `F = factor * diag(scale) F diag(scale)`.
fn scale_both(
    recording: &mut Recording,
    gpu: &Gpu,
    matrix: &PanelMatrix,
    scale: &[f64],
    factor: f64,
) -> Result<(), GpuError> {
    let cols = vector(gpu, "column scale", scale.iter().copied())?;
    for (first, panel) in matrix.panels() {
        let part = &scale[first..first + panel.rows()];
        let rows = vector(gpu, "row scale", part.iter().map(|e| e * factor))?;
        dense::scale(recording, panel, &rows, &cols);
    }
    Ok(())
}

/// Frobenius norm.
pub(super) fn norm(gpu: &Gpu, matrix: &PanelMatrix) -> Result<f64, GpuError> {
    let mut recording = Recording::new();
    let mut ids = Vec::new();
    for (_, panel) in matrix.panels() {
        let sums = Tensor::empty(gpu, "row sums", 1, panel.rows())?;
        dense::row_reduce(&mut recording, RowReduce::Dot, panel, panel, &sums);
        ids.push(recording.read(&sums.slice()));
    }
    let done = gpu.submit(recording)?;
    let squares = ids.into_iter().map(|id| sum(&done, id));
    Ok(squares.sum::<Result<f64, _>>()?.sqrt())
}
