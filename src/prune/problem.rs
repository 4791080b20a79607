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
//! Scaling: `V' = V / e`, `H' = e H e` with `e = 1 / sqrt(h (1 + d))`, h the diagonal of H: H' has a unit diagonal, and
//! the damping d is relative to each input's own energy (methods.md finding 8). Real Grams have condition numbers no
//! first-order method survives unscaled.

use super::{Pattern, PruneError};
use crate::gpu::{Gpu, GpuError, ReadId, Recording, Submission};
use crate::linalg::{self, largest_eigenvalue};
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
    /// Relative damping.
    pub damping: f64,
    /// Inputs that are never active.
    pub dead: usize,
    /// Calibration tokens.
    pub tokens: usize,
    drift: Option<[PanelMatrix; 2]>,
    scale: Tensor,
    inverse_scale: Tensor,
}

impl InputStatistics {
    /// Scales and damps the sums in place. `place` names the layer and tap in errors.
    pub fn prepare(gpu: &Gpu, sums: GramStatistics, damping: f64, place: &str) -> Result<Self, PruneError> {
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
        let scale: Vec<f64> = energy
            .iter()
            .map(|h| 1.0 / (h.max(floor) * (1.0 + damping)).sqrt())
            .collect();
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
            damping,
            dead,
            tokens,
            drift,
            scale,
            inverse_scale,
        })
    }

    /// Norm of each input over the tokens, all but for one common factor.
    pub fn norms(&self, gpu: &Gpu) -> Result<Vec<f32>, GpuError> {
        self.inverse_scale.fetch(gpu)
    }

    /// Stand-in until the device factors: the upper factor of the inverse Gram, by plain loops on the host.
    pub fn inverse_factor(&self, gpu: &Gpu) -> Result<std::rc::Rc<PanelMatrix>, PruneError> {
        let n = self.gram.n();
        let mut a = Vec::new();
        for (_, panel) in self.gram.panels() {
            a.extend(panel.fetch(gpu)?.iter().map(|v| f64::from(*v)));
        }
        // H = R Rᵀ with R upper, from the last column; U = R⁻¹.
        let mut r = vec![0.0; n * n];
        for j in (0..n).rev() {
            for i in (0..=j).rev() {
                let known: f64 = (j + 1..n).map(|k| r[i * n + k] * r[j * n + k]).sum();
                let rest = a[i * n + j] - known;
                r[i * n + j] = if i == j { rest.sqrt() } else { rest / r[j * n + j] };
            }
        }
        let mut u = vec![0.0; n * n];
        for j in 0..n {
            u[j * n + j] = 1.0 / r[j * n + j];
            for i in (0..j).rev() {
                let known: f64 = (i + 1..=j).map(|k| r[i * n + k] * u[k * n + j]).sum();
                u[i * n + j] = -known / r[i * n + i];
            }
        }
        let mut recording = Recording::new();
        let factor = PanelMatrix::zeros(gpu, &mut recording, "inverse factor", n)?;
        for (first, panel) in factor.panels() {
            let rows = panel.rows();
            let part: Vec<f32> = u[first * n..(first + rows) * n].iter().map(|v| *v as f32).collect();
            recording.copy(&Tensor::upload(gpu, "factor", rows, n, &part)?.slice(), &panel.slice());
        }
        gpu.submit(recording)?;
        Ok(std::rc::Rc::new(factor))
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

fn read_diagonal(gpu: &Gpu, gram: &PanelMatrix) -> Result<Vec<f32>, GpuError> {
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
        let norm = dot(&mut recording, gpu, &scaled, &scaled)?;
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
        let undamped = sum(&done, energy)? - problem.ridge() * sum(&done, norm)?;
        problem.energy = undamped;
        if let Some([linear, square]) = drift {
            problem.shift = sum(&done, square)?;
            problem.energy += problem.shift - 2.0 * sum(&done, linear)?;
        }
        problem.unit = sum(&done, unit)? / (rows * cols) as f64;
        Ok(problem)
    }

    /// Part of the unit diagonal that is damping.
    fn ridge(&self) -> f64 {
        self.inputs.damping / (1.0 + self.inputs.damping)
    }

    /// Records the terms of the drift `δ`: subtracts `W K` from the target; reads `tr(W K Wᵀ)` and `tr(W S Wᵀ)`.
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
        dense::axpby(recording, -1.0, &correction, 1.0, &self.target);
        self.correction = Some(correction);
        Ok(Some([linear, shift]))
    }

    /// What the target is short of `W H'` because the inputs have drifted from the dense ones.
    pub fn correction(&self) -> Option<&Tensor> {
        self.correction.as_ref()
    }

    /// An uninitialised matrix of the weight's shape.
    pub fn scratch(&self, gpu: &Gpu, label: &str) -> Result<Tensor, GpuError> {
        Tensor::empty(gpu, label, self.weight.rows(), self.weight.cols())
    }

    /// Records the error `‖V X* − W X‖²` per token of a scaled candidate.
    pub fn record_error(&self, recording: &mut Recording, gpu: &Gpu, v: &Tensor) -> Result<PendingError, GpuError> {
        let difference = self.scratch(gpu, "difference")?;
        recording.copy(&v.slice(), &difference.slice());
        dense::axpby(recording, -1.0, &self.weight, 1.0, &difference);
        let mut pending = self.record_distance(recording, gpu, &difference)?;
        if let Some(correction) = &self.correction {
            pending.correction = Some(dot(recording, gpu, &difference, correction)?);
            pending.shift = self.shift;
        }
        Ok(pending)
    }

    /// Records `‖D X*‖²` per token of a scaled difference.
    pub fn record_distance(
        &self,
        recording: &mut Recording,
        gpu: &Gpu,
        difference: &Tensor,
    ) -> Result<PendingError, GpuError> {
        let product = self.scratch(gpu, "difference times Gram")?;
        linalg::multiply(recording, gpu, 1.0, difference, &self.inputs.gram, &product);
        let quadratic = dot(recording, gpu, &product, difference)?;
        let norm = dot(recording, gpu, difference, difference)?;
        Ok(PendingError {
            quadratic,
            norm,
            ridge: self.ridge(),
            correction: None,
            shift: 0.0,
        })
    }

    /// Error of a scaled candidate, now.
    pub fn error(&self, gpu: &Gpu, v: &Tensor) -> Result<f64, GpuError> {
        let mut recording = Recording::new();
        let pending = self.record_error(&mut recording, gpu, v)?;
        pending.value(&gpu.submit(recording)?)
    }
}

/// An error whose sums are being computed.
pub struct PendingError {
    quadratic: ReadId,
    norm: ReadId,
    ridge: f64,
    correction: Option<ReadId>,
    shift: f64,
}

impl PendingError {
    /// The value; never negative (rounding may take a zero error a little below).
    pub fn value(&self, done: &Submission) -> Result<f64, GpuError> {
        let correction = self.correction.map_or(Ok(0.0), |id| sum(done, id))?;
        let total = sum(done, self.quadratic)? - self.ridge * sum(done, self.norm)? + 2.0 * correction + self.shift;
        Ok(if total.is_nan() { f64::INFINITY } else { total.max(0.0) })
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
