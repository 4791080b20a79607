//! The inputs of the layer problem: Jacobi scaling, damping, dead inputs; its mathematics is in `problem`.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use super::damping::escalate;
use super::row_sums::dot;
use super::{Damping, PruneError};
use crate::gpu::{Gpu, GpuError, ReadId, Recording};
use crate::linalg::{self, Pivots, largest_eigenvalue};
use crate::ops::dense;
use crate::tensor::{PanelMatrix, Tensor};

/// Products of the power iteration behind the step size.
const POWER_STEPS: usize = 48;
/// An input whose energy is below this fraction of the mean is dead: no weight on it matters.
pub(super) const DEAD: f64 = 1e-10;

/// What was summed up of a group's inputs `x*`.
pub enum InputSums {
    /// `Σ x* x*ᵀ`, complete (mirrored).
    Gram(PanelMatrix),
    /// Its diagonal alone, `Σ x*²` by input, `[1, inputs]`.
    Squares(Tensor),
}

impl InputSums {
    /// Number of inputs.
    pub fn width(&self) -> usize {
        match self {
            InputSums::Gram(gram) => gram.n(),
            InputSums::Squares(squares) => squares.cols(),
        }
    }

    fn diagonal(&self, gpu: &Gpu) -> Result<Vec<f32>, GpuError> {
        match self {
            InputSums::Gram(gram) => read_diagonal(gpu, gram),
            InputSums::Squares(squares) => squares.fetch(gpu),
        }
    }
}

/// Raw sums over the calibration tokens of one group's inputs.
pub struct GramStatistics {
    /// Of the inputs.
    pub inputs: InputSums,
    /// `Σ δ x*ᵀ` and `Σ δ δᵀ`; absent if the inputs are the dense ones.
    pub drift: Option<[PanelMatrix; 2]>,
    /// Number of tokens.
    pub tokens: usize,
}

/// What methods know of a group's inputs, scaled and damped.
pub struct InputStatistics {
    /// Unit-diagonal damped Gram, unless only norms were summed up.
    gram: Option<PanelMatrix>,
    /// Largest eigenvalue of it, from above, once somebody asked.
    lipschitz: OnceCell<f64>,
    /// Share `a` of the drift that is corrected.
    pub correction: f64,
    /// Inputs that are never active.
    pub dead: usize,
    /// Calibration tokens.
    pub tokens: usize,
    pub(super) drift: Option<[PanelMatrix; 2]>,
    pub(super) scale: Tensor,
    pub(super) inverse_scale: Tensor,
    /// Square root of the share of each unit diagonal element that is damping.
    ridge: Tensor,
    place: String,
    factor: OnceCell<Rc<PanelMatrix>>,
    escalations: Cell<usize>,
}

impl InputStatistics {
    /// Scales and damps the sums in place. `correction` is the share of the drift to correct, 0 to 1; `place` names the
    /// layer and activation site in errors.
    pub fn prepare(
        gpu: &Gpu,
        sums: GramStatistics,
        damping: Damping,
        correction: f64,
        place: &str,
    ) -> Result<Self, PruneError> {
        let n = sums.inputs.width();
        let diagonal = sums.inputs.diagonal(gpu)?;
        if let Some(index) = diagonal.iter().position(|v| !v.is_finite()) {
            return Err(PruneError::NonFiniteActivations {
                place: place.to_string(),
                index,
            });
        }
        // An expert that saw none has zeros.
        let tokens = sums.tokens.max(1) as f64;
        let mean = diagonal.iter().map(|v| f64::from(*v)).sum::<f64>() / (n as f64 * tokens);
        let floor = match mean > 0.0 {
            true => (mean * DEAD).max(f64::from(f32::MIN_POSITIVE) * 1e6),
            // Nothing is known: the identity, in numbers whose squares are numbers.
            false => 1.0,
        };
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
        let GramStatistics { inputs, drift, tokens } = sums;
        let gram = match inputs {
            InputSums::Squares(_) => None,
            InputSums::Gram(gram) => {
                let ones = ones(gpu, n)?;
                let mut recording = Recording::new();
                for (first, panel) in gram.panels() {
                    let part = column_range(gpu, &scale, first, panel.rows())?;
                    dense::scale(&mut recording, panel, &part, &mean_scale);
                    dense::set_diagonal(&mut recording, &ones, first, panel);
                }
                gpu.submit(recording)?;
                Some(gram)
            }
        };
        Ok(InputStatistics {
            gram,
            lipschitz: OnceCell::new(),
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

    /// The unit-diagonal damped Gram. Panics where only norms were summed up: see [`super::Method::needs`].
    pub fn gram(&self) -> &PanelMatrix {
        self.gram.as_ref().expect("a method that needs the Gram is given it")
    }

    /// Whether more than norms was summed up.
    pub fn has_gram(&self) -> bool {
        self.gram.is_some()
    }

    /// Largest eigenvalue of the Gram, from above; found when first asked for.
    pub fn lipschitz(&self, gpu: &Gpu) -> Result<f64, PruneError> {
        if let Some(known) = self.lipschitz.get() {
            return Ok(*known);
        }
        let found = largest_eigenvalue(gpu, self.gram(), POWER_STEPS)?.upper();
        Ok(*self.lipschitz.get_or_init(|| found))
    }

    /// That eigenvalue, if it was asked for.
    pub fn known_lipschitz(&self) -> Option<f64> {
        self.lipschitz.get().copied()
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
        let factor = Rc::new(self.gram().empty_like(gpu, "inverse factor")?);
        self.factorise(|shift| {
            let mut recording = Recording::new();
            let pivots = Pivots::new(gpu, &mut recording)?;
            linalg::inverse_factor(&mut recording, gpu, [self.gram(), &factor], shift, &pivots)?;
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
        scale_columns(recording, gpu, v, &self.inverse_scale)
    }

    /// Records `v = v' e` in place.
    pub fn leave(&self, recording: &mut Recording, gpu: &Gpu, v: &Tensor) -> Result<(), GpuError> {
        scale_columns(recording, gpu, v, &self.scale)
    }

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
            gram: self.gram.map(square).transpose()?,
            drift,
            scale: row(&self.scale)?,
            inverse_scale: row(&self.inverse_scale)?,
            ridge: row(&self.ridge)?,
            factor: OnceCell::new(),
            ..self
        })
    }

    /// Records `Σ r v²`, the part of a quadratic form that is damping; v is scaled by the root of r.
    pub(super) fn damped_norm(&self, recording: &mut Recording, gpu: &Gpu, v: &Tensor) -> Result<ReadId, GpuError> {
        scale_columns(recording, gpu, v, &self.ridge)?;
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

/// Records `v = v diag(columns)`.
fn scale_columns(recording: &mut Recording, gpu: &Gpu, v: &Tensor, columns: &Tensor) -> Result<(), GpuError> {
    dense::scale(recording, v, &ones(gpu, v.rows())?, columns);
    Ok(())
}

/// A row vector of ones: a scaling that does nothing.
pub(super) fn ones(gpu: &Gpu, count: usize) -> Result<Tensor, GpuError> {
    Tensor::upload(gpu, "ones", 1, count, &vec![1.0; count])
}

/// Elements `first ..` of a row vector as a tensor of its own (panels may start at any element).
fn column_range(gpu: &Gpu, row: &Tensor, first: usize, count: usize) -> Result<Tensor, GpuError> {
    if first == 0 && count == row.cols() {
        return Ok(row.clone());
    }
    let values = row.fetch(gpu)?;
    Tensor::upload(gpu, row.label(), 1, count, &values[first..first + count])
}
