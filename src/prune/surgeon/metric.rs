//! Convex pruning and refits in the metric of the curvature: `1/2 ⟨V − W, G~ (V − W) A~⟩ + λ Σ |v'|`.
//!
//! This joins FISTAPruner (arXiv 2408.03728) and LLM Surgeon: with G = 1 it is the former's layer problem. The gradient is
//! two products, nothing is factorised, and the step is `1 / (λmax(G) λmax(A))`. It works in scaled coordinates
//! `v' = v sqrt(G~_ii A~_jj)`, in which both factors have a unit diagonal; there `v'² / 2` is what a weight costs by
//! itself (damped OBD), so that one λ and one threshold serve the whole model. Zeros of W stay zero.

use super::costs::{Costs, Grain};
use super::curvature::{Curvature, vector};
use crate::gpu::{Gpu, GpuError, Recording};
use crate::ops::dense::{self, RowReduce};
use crate::ops::prox::{self, Keep};
use crate::prune::Pattern;
use crate::prune::row_sums::sum;
use crate::tensor::Tensor;

/// One linear in scaled coordinates; holds three matrices of its size.
pub struct MetricProblem<'a> {
    curvature: &'a Curvature,
    /// Scaled weight.
    weight: Tensor,
    /// 1 where it is not zero.
    free: Tensor,
    original: Tensor,
    scale: [Tensor; 2],
    inverse_scale: [Tensor; 2],
}

/// What a refit found.
pub struct Refitted {
    /// Scaled weight, zero off the support.
    pub weight: Tensor,
    /// [`MetricProblem::objective`] before.
    pub before: f64,
    /// The same of the weight.
    pub after: f64,
}

/// Two scratch matrices of the gradient.
struct Scratch {
    half: Tensor,
    product: Tensor,
}

impl<'a> MetricProblem<'a> {
    /// Of a weight `[outputs, inputs]`, which is not changed.
    pub fn new(gpu: &Gpu, curvature: &'a Curvature, w: &Tensor) -> Result<Self, GpuError> {
        curvature.check(w);
        let [rows, cols] = w.shape();
        let scratch = |label| Tensor::empty(gpu, label, rows, cols);
        let (weight, free, kept) = (scratch("scaled weight")?, scratch("free")?, scratch("kept")?);
        let sides = [&curvature.outputs, &curvature.inputs];
        let [row, col] = sides.map(|side| vector(gpu, "scale", side.scale.iter().copied()));
        let [row_back, col_back] = sides.map(|side| vector(gpu, "inverse scale", side.scale.iter().map(|e| 1.0 / e)));
        let problem = MetricProblem {
            curvature,
            weight,
            free,
            original: w.clone(),
            scale: [row?, col?],
            inverse_scale: [row_back?, col_back?],
        };
        let mut recording = Recording::new();
        let all = Keep { count: w.len() };
        prox::keep_largest(
            &mut recording,
            gpu,
            w,
            w,
            prox::Scope::Matrix,
            all,
            &kept,
            &problem.free,
        )?;
        recording.copy(&w.slice(), &problem.weight.slice());
        let [row, col] = &problem.inverse_scale;
        dense::scale(&mut recording, &problem.weight, row, col);
        gpu.submit(recording)?;
        Ok(problem)
    }

    /// The scaled weight: where a search begins.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// From the coordinates of the weight, in place.
    pub fn enter(&self, gpu: &Gpu, v: &Tensor) -> Result<(), GpuError> {
        let mut recording = Recording::new();
        let [row, col] = &self.inverse_scale;
        dense::scale(&mut recording, v, row, col);
        gpu.submit(recording)?;
        Ok(())
    }

    /// Back to the coordinates of the weight, in place.
    pub fn leave(&self, gpu: &Gpu, v: &Tensor) -> Result<(), GpuError> {
        let mut recording = Recording::new();
        let [row, col] = &self.scale;
        dense::scale(&mut recording, v, row, col);
        gpu.submit(recording)?;
        Ok(())
    }

    /// `1/2 ⟨V − W, G~ (V − W) A~⟩` of a scaled V.
    pub fn objective(&self, gpu: &Gpu, v: &Tensor) -> Result<f64, GpuError> {
        self.distance(gpu, [&self.weight, v])
    }

    /// `1/2 ⟨V − U, G~ (V − U) A~⟩` of two scaled ones.
    pub fn distance(&self, gpu: &Gpu, [u, v]: [&Tensor; 2]) -> Result<f64, GpuError> {
        let work = self.work(gpu)?;
        let difference = self.scratch(gpu, "difference")?;
        let mut recording = Recording::new();
        let minus = |recording: &mut Recording| {
            recording.copy(&v.slice(), &difference.slice());
            dense::axpby(recording, -1.0, u, 1.0, &difference);
        };
        minus(&mut recording);
        self.apply(&mut recording, gpu, &difference, &work)?;
        minus(&mut recording);
        let sums = Tensor::empty(gpu, "row sums", 1, v.rows())?;
        dense::row_reduce(&mut recording, RowReduce::Dot, &difference, &work.product, &sums);
        let id = recording.read(&sums.slice());
        let form = sum(&gpu.submit(recording)?, id)?;
        Ok((0.5 * self.curvature.unit() * form).max(0.0))
    }

    /// `steps` FISTA steps from a scaled `start` with the penalty `lambda`, in the unit of the root of a cost.
    pub fn lasso(&self, gpu: &Gpu, start: &Tensor, lambda: f64, steps: usize) -> Result<Tensor, GpuError> {
        let (outputs, inputs) = (&self.curvature.outputs, &self.curvature.inputs);
        let step = 1.0 / (outputs.lipschitz * inputs.lipschitz);
        let threshold = lambda / self.curvature.unit().sqrt() * step;
        let work = self.work(gpu)?;
        let [x, y, next] = ["iterate", "momentum", "next iterate"].map(|label| self.scratch(gpu, label));
        let (x, y, next, scaled) = (x?, y?, next?, self.scratch(gpu, "difference")?);
        let mut recording = Recording::new();
        recording.copy(&start.slice(), &x.slice());
        recording.copy(&start.slice(), &y.slice());
        let mut t = 1.0f64;
        for _ in 0..steps {
            let after = (1.0 + (1.0 + 4.0 * t * t).sqrt()) / 2.0;
            let momentum = ((t - 1.0) / after) as f32;
            self.gradient(&mut recording, gpu, &y, &scaled, &work)?;
            dense::axpby(&mut recording, -step as f32, &work.product, 1.0, &y);
            prox::soft_threshold(&mut recording, threshold as f32, &y, &next);
            dense::multiply(&mut recording, &self.free, &next);
            // y = next + momentum (next - x), x = next.
            dense::axpby(&mut recording, 1.0 + momentum, &next, 0.0, &y);
            dense::axpby(&mut recording, -momentum, &x, 1.0, &y);
            recording.copy(&next.slice(), &x.slice());
            t = after;
        }
        gpu.submit(recording)?;
        Ok(x)
    }

    /// The nearest scaled matrix with a pattern, and its support.
    pub fn round(&self, gpu: &Gpu, v: &Tensor, pattern: Pattern) -> Result<[Tensor; 2], GpuError> {
        let (out, support) = (self.scratch(gpu, "rounded")?, self.scratch(gpu, "support")?);
        let mut recording = Recording::new();
        pattern.round(&mut recording, gpu, [v, &self.free], &out, &support)?;
        gpu.submit(recording)?;
        Ok([out, support])
    }

    /// Costs `v'² / 2` of a scaled V: for one threshold over the whole model ([`super::allocate()`], [`Costs::keep`]).
    pub fn costs(&self, gpu: &Gpu, v: &Tensor, grain: Grain) -> Result<Costs, GpuError> {
        let roots = self.scratch(gpu, "roots of costs")?;
        let mut recording = Recording::new();
        let factor = (0.5 * self.curvature.unit()).sqrt();
        dense::axpby(&mut recording, factor as f32, v, 0.0, &roots);
        Costs::squared(recording, gpu, &roots, &self.original, grain)
    }

    /// At most `steps` conjugate gradient steps from a scaled V on a support, for all its weights together; the result is
    /// V itself, zeroed off the support, if that is better. Two products and two small readbacks per step.
    pub fn refit(&self, gpu: &Gpu, [v, support]: [&Tensor; 2], steps: usize) -> Result<Refitted, GpuError> {
        let scratch = |label| self.scratch(gpu, label);
        let (start, weight) = (scratch("start")?, scratch("refitted")?);
        let mut recording = Recording::new();
        recording.copy(&v.slice(), &start.slice());
        dense::multiply(&mut recording, support, &start);
        recording.copy(&start.slice(), &weight.slice());
        self.descend(recording, gpu, [&weight, support], steps)?;
        let (before, after) = (self.objective(gpu, &start)?, self.objective(gpu, &weight)?);
        let better = after <= before;
        Ok(Refitted {
            weight: if better { weight } else { start },
            before,
            after: if better { after } else { before },
        })
    }

    /// Conjugate gradients on a support after what is recorded, in place.
    fn descend(
        &self,
        mut recording: Recording,
        gpu: &Gpu,
        [v, support]: [&Tensor; 2],
        steps: usize,
    ) -> Result<(), GpuError> {
        let (work, scratch) = (self.work(gpu)?, |label| self.scratch(gpu, label));
        let (residual, direction, scaled) = (scratch("residual")?, scratch("direction")?, scratch("difference")?);
        self.gradient(&mut recording, gpu, v, &scaled, &work)?;
        dense::axpby(&mut recording, -1.0, &work.product, 0.0, &residual);
        dense::multiply(&mut recording, support, &residual);
        recording.copy(&residual.slice(), &direction.slice());
        let mut norm = self.dot(recording, gpu, [&residual, &residual])?;
        // A residual so much smaller than the first is rounding, whose directions mean nothing and underflow in the end.
        let floor = 1e-16 * norm + 1e-34;
        for _ in 0..steps {
            if norm <= floor {
                break;
            }
            let mut recording = Recording::new();
            recording.copy(&direction.slice(), &scaled.slice());
            self.apply(&mut recording, gpu, &scaled, &work)?;
            dense::multiply(&mut recording, support, &work.product);
            let curvature = self.dot(recording, gpu, [&direction, &work.product])?;
            let downhill = curvature > 0.0;
            if !downhill {
                break;
            }
            let length = (norm / curvature) as f32;
            let mut recording = Recording::new();
            dense::axpby(&mut recording, length, &direction, 1.0, v);
            dense::axpby(&mut recording, -length, &work.product, 1.0, &residual);
            let after = self.dot(recording, gpu, [&residual, &residual])?;
            let mut recording = Recording::new();
            dense::axpby(&mut recording, 1.0, &residual, (after / norm) as f32, &direction);
            gpu.submit(recording)?;
            norm = after;
        }
        Ok(())
    }

    fn scratch(&self, gpu: &Gpu, label: &str) -> Result<Tensor, GpuError> {
        Tensor::empty(gpu, label, self.weight.rows(), self.weight.cols())
    }

    fn work(&self, gpu: &Gpu) -> Result<Scratch, GpuError> {
        Ok(Scratch {
            half: self.scratch(gpu, "half a gradient")?,
            product: self.scratch(gpu, "gradient")?,
        })
    }

    /// Records the gradient at a scaled V into `work.product`; `scaled` is overwritten.
    fn gradient(
        &self,
        recording: &mut Recording,
        gpu: &Gpu,
        v: &Tensor,
        scaled: &Tensor,
        work: &Scratch,
    ) -> Result<(), GpuError> {
        recording.copy(&v.slice(), &scaled.slice());
        dense::axpby(recording, -1.0, &self.weight, 1.0, scaled);
        self.apply(recording, gpu, scaled, work)
    }

    /// Records `work.product = G' X A'` over the means for a scaled X, which is used up.
    fn apply(&self, recording: &mut Recording, gpu: &Gpu, x: &Tensor, work: &Scratch) -> Result<(), GpuError> {
        let [row, col] = &self.scale;
        dense::scale(recording, x, row, col);
        self.curvature.metric(recording, gpu, x, [&work.half, &work.product])?;
        dense::scale(recording, &work.product, row, col);
        Ok(())
    }

    /// Plays what is recorded, and returns `Σ a b` at its end.
    fn dot(&self, mut recording: Recording, gpu: &Gpu, [a, b]: [&Tensor; 2]) -> Result<f64, GpuError> {
        let sums = Tensor::empty(gpu, "row sums", 1, a.rows())?;
        dense::row_reduce(&mut recording, RowReduce::Dot, a, b, &sums);
        let id = recording.read(&sums.slice());
        sum(&gpu.submit(recording)?, id)
    }
}
