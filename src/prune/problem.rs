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
//! Outputs may count for more or less: with weights `g` the problem is `min Σ g_i ‖v_i X* − w_i X‖²`, that of rows scaled by
//! `sqrt(g_i)`. Rows are independent but for a pattern over the whole matrix, which then spreads its zeros over them.
//!
//! Scaling: `V' = V / e`, `H' = e (H + D) e` with `e = 1 / sqrt(h + D)`, h the diagonal of H and D the damping: H' has a
//! unit diagonal, of which `r = D e²` is damping. Real Grams have condition numbers no first-order method survives
//! unscaled.

use std::rc::Rc;

use super::inputs::{InputStatistics, ones};
use super::row_sums::{dot, sum};
use super::{Pattern, PruneError};
use crate::gpu::{Gpu, GpuError, ReadId, Recording, Submission};
use crate::linalg;
use crate::ops::dense::{self, RowReduce};
use crate::ops::nn;
use crate::tensor::{DType, Tensor};

/// One linear to be pruned, in scaled coordinates. All matrices are `[rows, cols]` = `[outputs, inputs]`.
pub struct LayerProblem<'a> {
    /// Its inputs.
    pub inputs: &'a InputStatistics,
    /// The pattern to reach.
    pub pattern: Pattern,
    /// Original weight, in the inputs' own coordinates.
    pub original: Tensor,
    /// Original weight, scaled.
    pub weight: Tensor,
    /// Not 0 where the original weight is not zero: zeros of the input stay.
    pub free: Tensor,
    /// `‖W X‖²` per token: the error of pruning everything, all outputs alike; 0 where only norms are known.
    pub energy: f64,
    target: Option<Tensor>,
    /// Mean |scaled weight|, the unit of penalties.
    pub unit: f64,
    correction: Option<Tensor>,
    shift: Sums,
    outputs: Option<Outputs>,
}

/// How much each output counts.
struct Outputs {
    /// `sqrt(g)`, `[1, rows]`.
    scale: Tensor,
    /// `1 / sqrt(g)`.
    inverse: Tensor,
    /// `1 / g`.
    back: Rc<[f64]>,
}

impl<'a> LayerProblem<'a> {
    /// Builds the problem of `weight` (row-major f32 `[rows, cols]`).
    pub fn new(
        gpu: &Gpu,
        inputs: &'a InputStatistics,
        [rows, cols]: [usize; 2],
        weight: &[f32],
        pattern: Pattern,
    ) -> Result<Self, PruneError> {
        let weight = Tensor::upload(gpu, "weight", rows, cols, weight)?;
        Self::of(gpu, inputs, &weight, pattern)
    }

    /// The same of a weight on the device, of any element type; it stays as it is.
    pub fn of(gpu: &Gpu, inputs: &'a InputStatistics, weight: &Tensor, pattern: Pattern) -> Result<Self, PruneError> {
        Self::build(gpu, inputs, weight, pattern, None)
    }

    /// The same with the errors of row i weighed by `outputs[i]`, above zero.
    pub fn weighted(
        gpu: &Gpu,
        inputs: &'a InputStatistics,
        weight: &Tensor,
        pattern: Pattern,
        outputs: &[f64],
    ) -> Result<Self, PruneError> {
        assert_eq!(outputs.len(), weight.rows(), "a weight for each output");
        let row = |label, f: &dyn Fn(f64) -> f64| {
            let values: Vec<f32> = outputs.iter().map(|g| f(*g) as f32).collect();
            Tensor::upload(gpu, label, 1, values.len(), &values)
        };
        let outputs = Outputs {
            scale: row("output scale", &f64::sqrt)?,
            inverse: row("inverse output scale", &|g| 1.0 / g.sqrt())?,
            back: outputs.iter().map(|g| 1.0 / g).collect(),
        };
        Self::build(gpu, inputs, weight, pattern, Some(outputs))
    }

    fn build(
        gpu: &Gpu,
        inputs: &'a InputStatistics,
        weight: &Tensor,
        pattern: Pattern,
        outputs: Option<Outputs>,
    ) -> Result<Self, PruneError> {
        let [rows, cols] = weight.shape();
        let mut recording = Recording::new();
        let original = match &outputs {
            None if weight.dtype() == DType::F32 => weight.clone(),
            _ => widened(&mut recording, gpu, "weight", weight)?,
        };
        let scaled = Tensor::empty(gpu, "scaled weight", rows, cols)?;
        let sums = Tensor::empty(gpu, "row sums", 1, rows)?;
        if let Some(outputs) = &outputs {
            scale_rows(&mut recording, gpu, &outputs.scale, &original)?;
        }
        recording.copy(&original.slice(), &scaled.slice());
        inputs.enter(&mut recording, gpu, &scaled)?;
        dense::row_reduce(&mut recording, RowReduce::AbsSum, &scaled, &scaled, &sums);
        let unit = recording.read(&sums.slice());
        let done = gpu.submit(recording)?;
        let mut problem = LayerProblem {
            inputs,
            pattern,
            free: original.clone(),
            original,
            weight: scaled,
            target: None,
            energy: 0.0,
            unit: sum(&done, unit)? / (rows * cols) as f64,
            correction: None,
            shift: Sums::default(),
            outputs,
        };
        if inputs.has_gram() {
            problem.aim(gpu)?;
        }
        Ok(problem)
    }

    /// Makes the target, and measures the energy.
    fn aim(&mut self, gpu: &Gpu) -> Result<(), PruneError> {
        let (inputs, scaled) = (self.inputs, self.weight.clone());
        let mut recording = Recording::new();
        let target = self.scratch(gpu, "target")?;
        linalg::multiply(&mut recording, gpu, 1.0, &scaled, inputs.gram(), &target);
        let energy = dot(&mut recording, gpu, &target, &scaled)?;
        let damped = self.scratch(gpu, "damped weight")?;
        recording.copy(&scaled.slice(), &damped.slice());
        let norm = inputs.damped_norm(&mut recording, gpu, &damped)?;
        let drift = self.correct(&mut recording, gpu, &target)?;
        let done = gpu.submit(recording)?;
        let alike = |id| Ok::<_, GpuError>(self.sums(&done, id)?.alike);
        let mut total = alike(energy)? - alike(norm)?;
        if let Some([linear, square]) = drift {
            self.shift = self.sums(&done, square)?;
            total += self.shift.alike - 2.0 * self.sums(&done, linear)?.alike;
        }
        self.energy = total;
        self.target = Some(target);
        Ok(())
    }

    /// Linear term: the gradient at V is `V H' − target`. Panics where only norms are known.
    pub fn target(&self) -> &Tensor {
        self.target.as_ref().expect("a method that needs the Gram is given it")
    }

    /// Whether candidates have errors: not where only norms are known.
    pub fn knows_errors(&self) -> bool {
        self.target.is_some()
    }

    /// Errors of a candidate in the weight's own coordinates, of any element type, which stays as it is.
    pub fn errors_of_stored(&self, gpu: &Gpu, stored: &Tensor) -> Result<Errors, PruneError> {
        let mut recording = Recording::new();
        let v = widened(&mut recording, gpu, "stored weight", stored)?;
        self.enter(&mut recording, gpu, &v)?;
        gpu.submit(recording)?;
        Ok(self.errors(gpu, &v)?)
    }

    /// Records the terms of the drift `δ`: subtracts `W K` from the target; reads `tr(W K Wᵀ)` and `tr(W S Wᵀ)`.
    ///
    /// The correction is kept whole, whatever share of it the target has: errors are against the dense outputs.
    fn correct(
        &mut self,
        recording: &mut Recording,
        gpu: &Gpu,
        target: &Tensor,
    ) -> Result<Option<[ReadId; 2]>, GpuError> {
        let Some([cross, square]) = &self.inputs.drift else {
            return Ok(None);
        };
        let per_token = 1.0 / self.inputs.tokens.max(1) as f32;
        let correction = Tensor::empty(gpu, "drift correction", self.weight.rows(), self.weight.cols())?;
        linalg::multiply(recording, gpu, per_token, &self.original, square, &correction);
        let shift = dot(recording, gpu, &correction, &self.original)?;
        linalg::multiply(recording, gpu, per_token, &self.original, cross, &correction);
        let linear = dot(recording, gpu, &correction, &self.original)?;
        self.inputs.leave(recording, gpu, &correction)?;
        dense::axpby(recording, -self.inputs.correction as f32, &correction, 1.0, target);
        self.correction = Some(correction);
        Ok(Some([linear, shift]))
    }

    /// Records the way from the coordinates of the weight to those of the problem, in place.
    pub fn enter(&self, recording: &mut Recording, gpu: &Gpu, v: &Tensor) -> Result<(), GpuError> {
        self.inputs.enter(recording, gpu, v)?;
        let outputs = self.outputs.as_ref();
        outputs.map_or(Ok(()), |o| scale_rows(recording, gpu, &o.scale, v))
    }

    /// Records the way back, in place.
    pub fn leave(&self, recording: &mut Recording, gpu: &Gpu, v: &Tensor) -> Result<(), GpuError> {
        self.inputs.leave(recording, gpu, v)?;
        let outputs = self.outputs.as_ref();
        outputs.map_or(Ok(()), |o| scale_rows(recording, gpu, &o.inverse, v))
    }

    fn sums(&self, done: &Submission, id: ReadId) -> Result<Sums, GpuError> {
        Sums::of(done, id, self.outputs.as_ref().map(|outputs| &*outputs.back))
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
        linalg::multiply(recording, gpu, 1.0, difference, self.inputs.gram(), &product);
        let quadratic = dot(recording, gpu, &product, difference)?;
        let norm = self.inputs.damped_norm(recording, gpu, difference)?;
        Ok(PendingError {
            quadratic,
            norm,
            correction: None,
            shift: Sums::default(),
            share: 0.0,
            back: self.outputs.as_ref().map(|outputs| outputs.back.clone()),
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
    /// `‖V X* − W (a X + (1 − a) X*)‖²`, each output by its weight: what methods make small.
    pub objective: f64,
    /// `‖V X* − W X‖²`: against the dense outputs, all alike.
    pub dense: f64,
}

/// An error whose sums are being computed.
pub struct PendingError {
    quadratic: ReadId,
    norm: ReadId,
    correction: Option<ReadId>,
    shift: Sums,
    share: f64,
    back: Option<Rc<[f64]>>,
}

/// A sum over all outputs.
#[derive(Clone, Copy, Default)]
struct Sums {
    /// By their weights.
    weighted: f64,
    /// Without.
    alike: f64,
}

impl Sums {
    /// Of weighted row sums.
    fn of(done: &Submission, id: ReadId, back: Option<&[f64]>) -> Result<Self, GpuError> {
        let rows = done.floats(id)?;
        let weighted = rows.iter().map(|v| f64::from(*v)).sum();
        let alike = match back {
            None => weighted,
            Some(back) => rows.iter().zip(back).map(|(v, b)| f64::from(*v) * b).sum(),
        };
        Ok(Sums { weighted, alike })
    }
}

impl PendingError {
    /// The values; never negative (rounding may take a zero error a little below).
    pub fn errors(&self, done: &Submission) -> Result<Errors, GpuError> {
        let sums = |id| Sums::of(done, id, self.back.as_deref());
        let linear = self.correction.map_or(Ok(Sums::default()), sums)?;
        let (quadratic, norm) = (sums(self.quadratic)?, sums(self.norm)?);
        let at = |share: f64, of: fn(&Sums) -> f64| {
            let distance = of(&quadratic) - of(&norm);
            let total = distance + 2.0 * share * of(&linear) + share * share * of(&self.shift);
            if total.is_nan() { f64::INFINITY } else { total.max(0.0) }
        };
        Ok(Errors {
            objective: at(self.share, |sums| sums.weighted),
            dense: at(1.0, |sums| sums.alike),
        })
    }

    /// What methods make small.
    pub fn objective(&self, done: &Submission) -> Result<f64, GpuError> {
        Ok(self.errors(done)?.objective)
    }
}

/// Records a copy in f32 of a matrix of any element type.
fn widened(recording: &mut Recording, gpu: &Gpu, label: &str, stored: &Tensor) -> Result<Tensor, GpuError> {
    let [rows, cols] = stored.shape();
    let out = Tensor::empty(gpu, label, rows, cols)?;
    if stored.dtype() == DType::F32 {
        recording.copy(&stored.slice(), &out.slice());
        return Ok(out);
    }
    let all: Vec<u32> = (0..rows as u32).collect();
    let all = gpu.upload("all rows", bytemuck::cast_slice(&all))?;
    nn::embed(recording, &all.slice(), stored, 0, &out);
    Ok(out)
}

/// Records `v = diag(rows) v`.
fn scale_rows(recording: &mut Recording, gpu: &Gpu, rows: &Tensor, v: &Tensor) -> Result<(), GpuError> {
    dense::scale(recording, v, rows, &ones(gpu, v.cols())?);
    Ok(())
}
