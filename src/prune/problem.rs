//! The layer problem all methods share: Jacobi scaling, damping, dead inputs and the error of a candidate.
//!
//! `min ‖V X* − W X‖²` over V with the pattern, X* the inputs with earlier linears pruned, X the dense ones
//! (methods: FISTAPruner Eq. 3, SparseGPT, ALPS). With `δ = X* − X` the target is `V X* ≈ W X* − W δ`, so
//!
//! - gradient: `(V − W) H + W K` with `H = X*X*ᵀ`, `K = δ X*ᵀ`,
//! - error: `tr(D H Dᵀ) + 2 tr(D (W K)ᵀ) + tr(W S Wᵀ)` with `D = V − W`, `S = δ δᵀ`.
//!
//! Sums of differences instead of differences of sums: nothing large cancels, and f32 is enough.
//!
//! A correction `a` in 0..=1 takes `a δ` for δ: the target inputs are then `a X + (1 − a) X*`, and at 0 the problem is
//! the symmetric one of SparseGPT and ALPS.
//!
//! Scaling: `V' = V / e`, `H' = e (H + D) e` with `e = 1 / sqrt(h + D)`, h the diagonal of H and D the damping: H' has a
//! unit diagonal, of which `r = D e²` is damping. Real Grams have condition numbers no first-order method survives
//! unscaled.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use super::damping::escalate;
use super::{Damping, Pattern, PruneError};
use crate::gpu::{Gpu, GpuError, ReadId, Recording, Submission};
use crate::linalg::{self, Pivots, largest_eigenvalue};
use crate::ops::dense::{self, RowReduce};
use crate::tensor::{PanelMatrix, Tensor};

/// Products of the power iteration behind the step size.
const POWER_STEPS: usize = 48;
/// An input whose energy is below this fraction of the mean is dead: no weight on it matters.
const DEAD: f64 = 1e-10;

/// Raw sums over the calibration tokens of one group's inputs.
pub struct GramStatistics {
    /// `Σ x* x*ᵀ`, complete (mirrored).
    pub gram: PanelMatrix,
    /// `Σ δ x*ᵀ` and `Σ δ δᵀ`; absent if the inputs are the dense ones.
    pub drift: Option<[PanelMatrix; 2]>,
    /// Number of tokens.
    pub tokens: usize,
}

/// What methods know of a group's inputs, scaled and damped.
pub struct InputStatistics {
    /// Unit-diagonal damped Gram.
    pub gram: PanelMatrix,
    /// Largest eigenvalue of it, from above.
    pub lipschitz: f64,
    /// Share `a` of the drift that is corrected.
    pub correction: f64,
    /// Inputs that are never active.
    pub dead: usize,
    /// Calibration tokens.
    pub tokens: usize,
    drift: Option<[PanelMatrix; 2]>,
    scale: Tensor,
    inverse_scale: Tensor,
    /// Square root of the share of each unit diagonal element that is damping.
    ridge: Tensor,
    place: String,
    factor: OnceCell<Rc<PanelMatrix>>,
    escalations: Cell<usize>,
}

impl InputStatistics {
    /// Scales and damps the sums in place. `correction` is the share of the drift to correct, 0 to 1; `place` names the
    /// layer and tap in errors.
    pub fn prepare(
        gpu: &Gpu,
        sums: GramStatistics,
        damping: Damping,
        correction: f64,
        place: &str,
    ) -> Result<Self, PruneError> {
        let n = sums.gram.n();
        let diagonal = read_diagonal(gpu, &sums.gram)?;
        if let Some(index) = diagonal.iter().position(|v| !v.is_finite()) {
            return Err(PruneError::NonFiniteActivations {
                place: place.to_string(),
                index,
            });
        }
        let tokens = sums.tokens as f64;
        let mean = diagonal.iter().map(|v| f64::from(*v)).sum::<f64>() / (n as f64 * tokens);
        let floor = (mean * DEAD).max(f64::from(f32::MIN_POSITIVE) * 1e6);
        let energy: Vec<f64> = diagonal.iter().map(|v| f64::from(*v) / tokens).collect();
        let dead = energy.iter().filter(|h| **h <= floor).count();
        let damped: Vec<f64> = energy.iter().map(|h| damping.of(h.max(floor), mean)).collect();
        let scale: Vec<f64> = damped.iter().map(|h| 1.0 / h.sqrt()).collect();
        let ridge: Vec<f32> = (energy.iter().zip(&damped))
            .map(|(h, damped)| (1.0 - h / damped).max(0.0).sqrt() as f32)
            .collect();
        let ridge = Tensor::upload(gpu, "ridge", 1, n, &ridge)?;
        let row = |label: &str, f: &dyn Fn(f64) -> f64| {
            let values: Vec<f32> = scale.iter().map(|e| f(*e) as f32).collect();
            Tensor::upload(gpu, label, 1, n, &values)
        };
        let (scale, inverse_scale) = (row("scale", &|e| e)?, row("inverse scale", &|e| 1.0 / e)?);
        let mean_scale = row("scale per token", &|e| e / tokens)?;
        let ones = Tensor::upload(gpu, "ones", 1, n, &vec![1.0; n])?;
        let mut recording = Recording::new();
        for (first, panel) in sums.gram.panels() {
            let part = column_range(gpu, &scale, first, panel.rows())?;
            dense::scale(&mut recording, panel, &part, &mean_scale);
            dense::set_diagonal(&mut recording, &ones, first, panel);
        }
        gpu.submit(recording)?;
        let lipschitz = largest_eigenvalue(gpu, &sums.gram, POWER_STEPS)?.upper();
        let GramStatistics { gram, drift, tokens } = sums;
        Ok(InputStatistics {
            gram,
            lipschitz,
            correction: if drift.is_some() { correction } else { 0.0 },
            dead,
            tokens,
            drift,
            scale,
            inverse_scale,
            ridge,
            place: place.to_string(),
            factor: OnceCell::new(),
            escalations: Cell::new(0),
        })
    }

    /// Norm of each input over the tokens, but for one common factor, and as damped.
    pub fn norms(&self, gpu: &Gpu) -> Result<Vec<f32>, GpuError> {
        self.inverse_scale.fetch(gpu)
    }

    /// The upper triangular U, in panels of rows, with `H'⁻¹ = Uᵀ U`; made once for all linears of the group.
    pub fn inverse_factor(&self, gpu: &Gpu) -> Result<Rc<PanelMatrix>, PruneError> {
        if let Some(factor) = self.factor.get() {
            return Ok(factor.clone());
        }
        let factor = Rc::new(self.gram.empty_like(gpu, "inverse factor")?);
        self.factorise(|shift| {
            let mut recording = Recording::new();
            let pivots = Pivots::new(gpu, &mut recording)?;
            linalg::inverse_factor(&mut recording, gpu, [&self.gram, &factor], shift, &pivots)?;
            let id = pivots.read(&mut recording);
            Pivots::failed(&gpu.submit(recording)?, id)
        })?;
        Ok(self.factor.get_or_init(|| factor).clone())
    }

    /// Tries a factorisation of the Gram with more and more added to its diagonal until no pivot fails; `attempt` returns
    /// the row of the first that did. Returns what was added.
    pub fn factorise(&self, attempt: impl FnMut(f32) -> Result<Option<usize>, GpuError>) -> Result<f32, PruneError> {
        escalate(&self.place, &self.escalations, attempt)
    }

    /// How often a factorisation failed and was repeated with more damping.
    pub fn escalations(&self) -> usize {
        self.escalations.get()
    }

    /// Records `v' = v / e` in place.
    pub fn enter(&self, recording: &mut Recording, gpu: &Gpu, v: &Tensor) -> Result<(), GpuError> {
        let rows = Tensor::upload(gpu, "ones", 1, v.rows(), &vec![1.0; v.rows()])?;
        dense::scale(recording, v, &rows, &self.inverse_scale);
        Ok(())
    }

    /// Records `v = v' e` in place.
    pub fn leave(&self, recording: &mut Recording, gpu: &Gpu, v: &Tensor) -> Result<(), GpuError> {
        let rows = Tensor::upload(gpu, "ones", 1, v.rows(), &vec![1.0; v.rows()])?;
        dense::scale(recording, v, &rows, &self.scale);
        Ok(())
    }
}

impl InputStatistics {
    /// With every matrix and every row of values put in another order, the same for all.
    pub(super) fn reordered(
        self,
        square: impl Fn(PanelMatrix) -> Result<PanelMatrix, PruneError>,
        row: impl Fn(&Tensor) -> Result<Tensor, PruneError>,
    ) -> Result<Self, PruneError> {
        let drift = match self.drift {
            Some([cross, own]) => Some([square(cross)?, square(own)?]),
            None => None,
        };
        Ok(InputStatistics {
            gram: square(self.gram)?,
            drift,
            scale: row(&self.scale)?,
            inverse_scale: row(&self.inverse_scale)?,
            ridge: row(&self.ridge)?,
            factor: OnceCell::new(),
            ..self
        })
    }

    /// Records `Σ r v²`, the part of a quadratic form that is damping; v is scaled by the root of r.
    fn damped_norm(&self, recording: &mut Recording, gpu: &Gpu, v: &Tensor) -> Result<ReadId, GpuError> {
        let rows = Tensor::upload(gpu, "ones", 1, v.rows(), &vec![1.0; v.rows()])?;
        dense::scale(recording, v, &rows, &self.ridge);
        dot(recording, gpu, v, v)
    }
}

/// The diagonal of a square matrix, now.
pub(super) fn read_diagonal(gpu: &Gpu, gram: &PanelMatrix) -> Result<Vec<f32>, GpuError> {
    let out = Tensor::empty(gpu, "diagonal", 1, gram.n())?;
    let mut recording = Recording::new();
    for (first, panel) in gram.panels() {
        dense::diagonal(&mut recording, panel, first, &out);
    }
    let id = recording.read(&out.slice());
    gpu.submit(recording)?.floats(id)
}

/// Elements `first ..` of a row vector as a tensor of its own (panels may start at any element).
fn column_range(gpu: &Gpu, row: &Tensor, first: usize, count: usize) -> Result<Tensor, GpuError> {
    if first == 0 && count == row.cols() {
        return Ok(row.clone());
    }
    let values = row.fetch(gpu)?;
    Tensor::upload(gpu, row.label(), 1, count, &values[first..first + count])
}

/// One linear to be pruned, in scaled coordinates. All matrices are `[rows, cols]` = `[outputs, inputs]`.
pub struct LayerProblem<'a> {
    /// Its inputs.
    pub inputs: &'a InputStatistics,
    /// The pattern to reach.
    pub pattern: Pattern,
    /// Original weight, unscaled.
    pub original: Tensor,
    /// Original weight, scaled.
    pub weight: Tensor,
    /// Linear term: the gradient at V is `V H' − target`.
    pub target: Tensor,
    /// 1 where the original weight is not zero: zeros of the input stay.
    pub free: Tensor,
    /// `‖W X‖²` per token: the error of pruning everything.
    pub energy: f64,
    /// Mean |scaled weight|, the unit of penalties.
    pub unit: f64,
    correction: Option<Tensor>,
    shift: f64,
}

impl<'a> LayerProblem<'a> {
    /// Builds the problem of `weight` (row-major f32 `[rows, cols]`).
    pub fn new(
        gpu: &Gpu,
        inputs: &'a InputStatistics,
        shape: [usize; 2],
        weight: &[f32],
        pattern: Pattern,
    ) -> Result<Self, PruneError> {
        let [rows, cols] = shape;
        let original = Tensor::upload(gpu, "weight", rows, cols, weight)?;
        let scaled = Tensor::upload(gpu, "scaled weight", rows, cols, weight)?;
        let free: Vec<f32> = weight.iter().map(|w| if *w == 0.0 { 0.0 } else { 1.0 }).collect();
        let free = Tensor::upload(gpu, "free", rows, cols, &free)?;
        let target = Tensor::empty(gpu, "target", rows, cols)?;
        let sums = Tensor::empty(gpu, "row sums", 1, rows)?;
        let mut recording = Recording::new();
        inputs.enter(&mut recording, gpu, &scaled)?;
        linalg::multiply(&mut recording, gpu, 1.0, &scaled, &inputs.gram, &target);
        let energy = dot(&mut recording, gpu, &target, &scaled)?;
        let damped = Tensor::empty(gpu, "damped weight", rows, cols)?;
        recording.copy(&scaled.slice(), &damped.slice());
        let norm = inputs.damped_norm(&mut recording, gpu, &damped)?;
        dense::row_reduce(&mut recording, RowReduce::AbsSum, &scaled, &scaled, &sums);
        let unit = recording.read(&sums.slice());
        let mut problem = LayerProblem {
            inputs,
            pattern,
            original,
            weight: scaled,
            target,
            free,
            energy: 0.0,
            unit: 0.0,
            correction: None,
            shift: 0.0,
        };
        let drift = problem.correct(&mut recording, gpu)?;
        let done = gpu.submit(recording)?;
        let undamped = sum(&done, energy)? - sum(&done, norm)?;
        problem.energy = undamped;
        if let Some([linear, square]) = drift {
            problem.shift = sum(&done, square)?;
            problem.energy += problem.shift - 2.0 * sum(&done, linear)?;
        }
        problem.unit = sum(&done, unit)? / (rows * cols) as f64;
        Ok(problem)
    }

    /// Records the terms of the drift `δ`: subtracts `W K` from the target; reads `tr(W K Wᵀ)` and `tr(W S Wᵀ)`.
    ///
    /// The correction is kept whole, whatever share of it the target has: errors are against the dense outputs.
    fn correct(&mut self, recording: &mut Recording, gpu: &Gpu) -> Result<Option<[ReadId; 2]>, GpuError> {
        let Some([cross, square]) = &self.inputs.drift else {
            return Ok(None);
        };
        let per_token = 1.0 / self.inputs.tokens as f32;
        let correction = Tensor::empty(gpu, "drift correction", self.weight.rows(), self.weight.cols())?;
        linalg::multiply(recording, gpu, per_token, &self.original, square, &correction);
        let shift = dot(recording, gpu, &correction, &self.original)?;
        linalg::multiply(recording, gpu, per_token, &self.original, cross, &correction);
        let linear = dot(recording, gpu, &correction, &self.original)?;
        self.inputs.leave(recording, gpu, &correction)?;
        dense::axpby(
            recording,
            -self.inputs.correction as f32,
            &correction,
            1.0,
            &self.target,
        );
        self.correction = Some(correction);
        Ok(Some([linear, shift]))
    }

    /// What the target is short of `W H'` because the inputs have drifted from the dense ones: a factor and a matrix.
    pub fn correction(&self) -> Option<(f32, &Tensor)> {
        let factor = self.inputs.correction as f32;
        self.correction.as_ref().filter(|_| factor != 0.0).map(|c| (factor, c))
    }

    /// An uninitialised matrix of the weight's shape.
    pub fn scratch(&self, gpu: &Gpu, label: &str) -> Result<Tensor, GpuError> {
        Tensor::empty(gpu, label, self.weight.rows(), self.weight.cols())
    }

    /// Records the errors of a scaled candidate, see [`Errors`].
    pub fn record_error(&self, recording: &mut Recording, gpu: &Gpu, v: &Tensor) -> Result<PendingError, GpuError> {
        let difference = self.scratch(gpu, "difference")?;
        recording.copy(&v.slice(), &difference.slice());
        dense::axpby(recording, -1.0, &self.weight, 1.0, &difference);
        let correction = match &self.correction {
            Some(correction) => Some(dot(recording, gpu, &difference, correction)?),
            None => None,
        };
        Ok(PendingError {
            correction,
            shift: self.shift,
            share: self.inputs.correction,
            ..self.record_distance(recording, gpu, &difference)?
        })
    }

    /// Records `‖D X*‖²` per token of a scaled difference, which is used up.
    pub fn record_distance(
        &self,
        recording: &mut Recording,
        gpu: &Gpu,
        difference: &Tensor,
    ) -> Result<PendingError, GpuError> {
        let product = self.scratch(gpu, "difference times Gram")?;
        linalg::multiply(recording, gpu, 1.0, difference, &self.inputs.gram, &product);
        let quadratic = dot(recording, gpu, &product, difference)?;
        let norm = self.inputs.damped_norm(recording, gpu, difference)?;
        Ok(PendingError {
            quadratic,
            norm,
            correction: None,
            shift: 0.0,
            share: 0.0,
        })
    }

    /// Errors of a scaled candidate, now.
    pub fn errors(&self, gpu: &Gpu, v: &Tensor) -> Result<Errors, GpuError> {
        let mut recording = Recording::new();
        let pending = self.record_error(&mut recording, gpu, v)?;
        pending.errors(&gpu.submit(recording)?)
    }
}

/// How far a candidate is off, per token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Errors {
    /// `‖V X* − W (a X + (1 − a) X*)‖²`: what methods make small.
    pub objective: f64,
    /// `‖V X* − W X‖²`: against the dense outputs.
    pub dense: f64,
}

/// An error whose sums are being computed.
pub struct PendingError {
    quadratic: ReadId,
    norm: ReadId,
    correction: Option<ReadId>,
    shift: f64,
    share: f64,
}

impl PendingError {
    /// The values; never negative (rounding may take a zero error a little below).
    pub fn errors(&self, done: &Submission) -> Result<Errors, GpuError> {
        let linear = self.correction.map_or(Ok(0.0), |id| sum(done, id))?;
        let distance = sum(done, self.quadratic)? - sum(done, self.norm)?;
        let at = |share: f64| {
            let total = distance + 2.0 * share * linear + share * share * self.shift;
            if total.is_nan() { f64::INFINITY } else { total.max(0.0) }
        };
        Ok(Errors {
            objective: at(self.share),
            dense: at(1.0),
        })
    }

    /// What methods make small.
    pub fn objective(&self, done: &Submission) -> Result<f64, GpuError> {
        Ok(self.errors(done)?.objective)
    }
}

/// Records `Σ a b` as row sums.
fn dot(recording: &mut Recording, gpu: &Gpu, a: &Tensor, b: &Tensor) -> Result<ReadId, GpuError> {
    let sums = Tensor::empty(gpu, "row sums", 1, a.rows())?;
    dense::row_reduce(recording, RowReduce::Dot, a, b, &sums);
    Ok(recording.read(&sums.slice()))
}

/// Total of row sums, in f64.
pub(super) fn sum(done: &Submission, id: ReadId) -> Result<f64, GpuError> {
    Ok(done.floats(id)?.iter().map(|v| f64::from(*v)).sum())
}
