//! A whole layer by the default method at 2:4, from weights in host memory to a solution on the device. The Gram and what
//! a group's linears share are made before.

use std::rc::Rc;

use super::super::BenchError;
use super::super::case::{Accuracy, Call, Case};
use super::super::data::{Data, sample};
use super::super::spec::Spec;
use crate::gpu::{Gpu, Recording};
use crate::linalg;
use crate::prune::{
    Damping, GramStatistics, InputStatistics, InputSums, LayerProblem, LayerSolution, METHODS, Method, MethodOptions,
    Pattern, PruneError, refit,
};
use crate::tensor::{PanelMatrix, Tensor};

const PATTERN: Pattern = Pattern::NM { n: 2, m: 4 };

/// Everything a solve reads.
struct Layer {
    inputs: InputStatistics,
    weight: Vec<f32>,
    shape: [usize; 2],
    /// Inputs of the linear, `[tokens, cols]`.
    x: Vec<f32>,
    method: Box<dyn Method>,
}

pub(super) fn solve(gpu: &Gpu, spec: &Spec, seed: u64) -> Result<Case, BenchError> {
    let ([rows, cols, _], tokens) = (spec.size, spec.more);
    let method = METHODS[0]
        .layerwise(&MethodOptions::default())
        .expect("the default is layer-wise");
    let mut data = Data::new(seed);
    let x = data.activations(tokens, cols);
    let weight = data.uniform(rows * cols);
    let mut recording = Recording::new();
    let gram = PanelMatrix::zeros(gpu, &mut recording, "bench gram", cols)?;
    let tensor = Tensor::upload(gpu, "bench inputs", tokens, cols, &x)?;
    linalg::accumulate(&mut recording, gpu, &tensor, &tensor, &gram, true);
    linalg::finish(&mut recording, &gram);
    gpu.submit(recording)?;
    let sums = GramStatistics {
        inputs: InputSums::Gram(gram),
        drift: None,
        tokens,
    };
    let inputs = InputStatistics::prepare(gpu, sums, Damping::default(), 1.0, "bench")?;
    let layer = Rc::new(Layer {
        inputs,
        weight,
        shape: [rows, cols],
        x,
        method,
    });
    let again = layer.clone();
    Ok(Case {
        flops: 0.0,
        bytes: 0.0,
        work: Call::Run(Box::new(move |gpu| {
            let problem = again.problem(gpu)?;
            again.solve(gpu, &problem)?;
            Ok(wait(gpu)?)
        })),
        check: Box::new(move |gpu| layer.check(gpu)),
    })
}

/// Until everything queued is done.
fn wait(gpu: &Gpu) -> Result<(), crate::gpu::GpuError> {
    gpu.submit(Recording::new())?.wait()
}

impl Layer {
    fn problem(&self, gpu: &Gpu) -> Result<LayerProblem<'_>, PruneError> {
        LayerProblem::new(gpu, &self.inputs, self.shape, &self.weight, PATTERN)
    }

    fn solve(&self, gpu: &Gpu, problem: &LayerProblem<'_>) -> Result<LayerSolution, PruneError> {
        let solution = self.method.solve(gpu, problem)?;
        refit(gpu, problem, solution, METHODS[0].defaults.refit)
    }

    /// The pattern holds exactly, and on a sample of rows the error that the device reports is what the tokens give in f64.
    fn check(&self, gpu: &Gpu) -> Result<Accuracy, BenchError> {
        let [rows, cols] = self.shape;
        let before = gpu.flops();
        let problem = self.problem(gpu)?;
        let solution = self.solve(gpu, &problem)?;
        let flops = gpu.flops() - before;
        let scaled = solution.weight.fetch(gpu)?;
        let sound = scaled
            .chunks(4)
            .all(|group| group.iter().filter(|v| **v != 0.0).count() <= 2);
        let chosen = sample(rows, 16);
        let gather = |values: &[f32]| -> Vec<f32> {
            chosen
                .iter()
                .flat_map(|row| values[row * cols..][..cols].to_vec())
                .collect()
        };
        let (weight, scaled) = (gather(&self.weight), gather(&scaled));
        let size = [chosen.len(), cols];
        let part = LayerProblem::new(gpu, &self.inputs, size, &weight, PATTERN)?;
        let v = Tensor::upload(gpu, "bench rows", size[0], cols, &scaled)?;
        let found = part.errors(gpu, &v)?.objective;
        let original = part.weight.fetch(gpu)?;
        let distance: f64 = scaled
            .iter()
            .zip(&original)
            .map(|(v, w)| f64::from(v - w).powi(2))
            .sum();
        let mut recording = Recording::new();
        self.inputs.leave(&mut recording, gpu, &v)?;
        gpu.submit(recording)?;
        let wanted = self.error_of_rows(&weight, &v.fetch(gpu)?);
        let error = if sound {
            (found - wanted).abs() / wanted
        } else {
            f64::INFINITY
        };
        // The quadratic form sums n products of numbers as large as the largest eigenvalue times the distance allows.
        let bound =
            (cols + 8) as f64 * f64::from(f32::EPSILON) * (distance * self.inputs.lipschitz(gpu)? / wanted).max(1.0);
        Ok(Accuracy {
            flops: Some(flops),
            layer_error: Some(solution.error / problem.energy),
            ..Accuracy::new(error, bound, chosen.len() * cols, rows * cols)
        })
    }

    /// `‖(V − W) X‖²` per token from the tokens, in f64.
    fn error_of_rows(&self, weight: &[f32], v: &[f32]) -> f64 {
        use rayon::prelude::*;
        let cols = self.shape[1];
        let difference: Vec<f64> = v
            .iter()
            .zip(weight)
            .map(|(v, w)| f64::from(*v) - f64::from(*w))
            .collect();
        let token = |x: &[f32]| -> f64 {
            let product = |row: &[f64]| row.iter().zip(x).map(|(d, x)| d * f64::from(*x)).sum::<f64>().powi(2);
            difference.chunks(cols).map(product).sum()
        };
        let total: f64 = self.x.par_chunks(cols).map(token).sum();
        total / (self.x.len() / cols) as f64
    }
}
