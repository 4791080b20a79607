//! Low-rank corrections that keep zeros (LoRA, Hu et al. 2021, arXiv 2106.09685; between the shots of LLM Surgeon, van der
//! Ouderaa et al. 2024, section 3.7): `W + M ∘ (B A)` with `M` 1 where `W` is not zero, A `[rank, inputs]` and B
//! `[outputs, rank]` learned by Adam (Kingma and Ba 2015) from the gradient of the loss with respect to that weight.
//!
//! Both factors and their moments are on the host, a thousandth of the model; the products with them are on the device.

use rand::{RngExt, SeedableRng};

use crate::gpu::{Gpu, GpuError, Recording};
use crate::linalg::{self, row_blocks};
use crate::ops::dense::{self, Gemm, Layout};
use crate::tensor::Tensor;

/// Decay of the mean of gradients and of their squares.
const DECAY: [f64; 2] = [0.9, 0.999];
/// Keeps Adam's quotient finite.
const EPSILON: f64 = 1e-8;

/// The correction of one linear.
pub struct LowRank {
    shape: [usize; 2],
    rank: usize,
    /// A, then B.
    factors: [Learned; 2],
}

/// Gradients of A and of B.
pub type LowRankGradient = [Vec<f32>; 2];

/// Values and Adam's moments of them.
struct Learned {
    values: Vec<f32>,
    mean: Vec<f32>,
    square: Vec<f32>,
}

/// One step of Adam.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// From 1.
    pub number: usize,
    /// How far a value moves at most, about.
    pub rate: f64,
}

impl Learned {
    fn new(values: Vec<f32>) -> Self {
        let zeros = vec![0.0; values.len()];
        Learned {
            values,
            mean: zeros.clone(),
            square: zeros,
        }
    }

    fn step(&mut self, gradient: &[f32], AdamStep { number, rate }: AdamStep) {
        let [first, second] = DECAY;
        let unbiased = DECAY.map(|decay| 1.0 - decay.powi(number as i32));
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for ((value, (mean, square)), g) in self.values.iter_mut().zip(moments).zip(gradient) {
            let g = f64::from(*g);
            *mean = (first * f64::from(*mean) + (1.0 - first) * g) as f32;
            *square = (second * f64::from(*square) + (1.0 - second) * g * g) as f32;
            let (mean, square) = (f64::from(*mean) / unbiased[0], f64::from(*square) / unbiased[1]);
            *value -= (rate * mean / (square.sqrt() + EPSILON)) as f32;
        }
    }
}

impl LowRank {
    /// Of a weight `[outputs, inputs]`: A of variance `1 / inputs`, B zero, so that nothing is corrected yet.
    pub fn new([outputs, inputs]: [usize; 2], rank: usize, seed: u64) -> Self {
        let mut random = rand_pcg::Pcg32::seed_from_u64(seed);
        let scale = (3.0 / inputs as f32).sqrt();
        let a = (0..rank * inputs).map(|_| scale * (2.0 * random.random::<f32>() - 1.0));
        LowRank {
            shape: [outputs, inputs],
            rank,
            factors: [Learned::new(a.collect()), Learned::new(vec![0.0; outputs * rank])],
        }
    }

    /// Bytes on the host of a weight's correction with its gradient.
    pub fn bytes([outputs, inputs]: [usize; 2], rank: usize) -> usize {
        4 * 4 * rank * (outputs + inputs)
    }

    /// A and B.
    pub fn factors(&self) -> [&[f32]; 2] {
        [&self.factors[0].values, &self.factors[1].values]
    }

    /// Everything it holds: values, means and mean squares of A, then of B.
    pub fn parts(&self) -> [&[f32]; 6] {
        let [a, b] = &self.factors;
        [&a.values, &a.mean, &a.square, &b.values, &b.mean, &b.square]
    }

    /// The same, to be put back.
    pub fn parts_mut(&mut self) -> [&mut [f32]; 6] {
        let [a, b] = &mut self.factors;
        [
            &mut a.values,
            &mut a.mean,
            &mut a.square,
            &mut b.values,
            &mut b.mean,
            &mut b.square,
        ]
    }

    fn upload(&self, gpu: &Gpu) -> Result<[Tensor; 2], GpuError> {
        let ([outputs, inputs], [a, b]) = (self.shape, &self.factors);
        Ok([
            Tensor::upload(gpu, "low rank A", self.rank, inputs, &a.values)?,
            Tensor::upload(gpu, "low rank B", outputs, self.rank, &b.values)?,
        ])
    }

    /// The corrected weight `[outputs, inputs]` of `weight`.
    pub fn corrected(&self, gpu: &Gpu, weight: &[f32]) -> Result<Tensor, GpuError> {
        let [outputs, inputs] = self.shape;
        let out = Tensor::upload(gpu, "corrected weight", outputs, inputs, weight)?;
        let change = Tensor::empty(gpu, "low rank change", outputs, inputs)?;
        let mask = mask(gpu, self.shape, weight)?;
        let [a, b] = self.upload(gpu)?;
        let mut recording = Recording::new();
        for (first, rows) in row_blocks(gpu, &out) {
            let (b, change) = (b.row_window(first, rows), change.row_window(first, rows));
            dense::gemm(&mut recording, gpu, &Gemm::new(&b, &a, Layout::NN, &change));
            if let Some(mask) = &mask {
                dense::multiply(&mut recording, &mask.row_window(first, rows), &change);
            }
            dense::axpby(&mut recording, 1.0, &change, 1.0, &out.row_window(first, rows));
        }
        gpu.submit(recording)?;
        Ok(out)
    }

    /// Gradients of A and B from that of the corrected weight, `[outputs, inputs]`, which is used up.
    pub fn gradient(&self, gpu: &Gpu, gradient: Tensor, weight: &[f32]) -> Result<LowRankGradient, GpuError> {
        let ([outputs, inputs], rank) = (self.shape, self.rank);
        let mask = mask(gpu, self.shape, weight)?;
        let [a, b] = self.upload(gpu)?;
        let mut recording = Recording::new();
        let of_a = Tensor::zeros(gpu, &mut recording, "gradient of A", rank, inputs)?;
        let of_b = Tensor::empty(gpu, "gradient of B", outputs, rank)?;
        for (first, rows) in row_blocks(gpu, &gradient) {
            let gradient = gradient.row_window(first, rows);
            if let Some(mask) = &mask {
                dense::multiply(&mut recording, &mask.row_window(first, rows), &gradient);
            }
            let to_b = of_b.row_window(first, rows);
            dense::gemm(&mut recording, gpu, &Gemm::new(&gradient, &a, Layout::NT, &to_b));
            linalg::add_product(&mut recording, gpu, [&b.row_window(first, rows), &gradient], &of_a);
        }
        let ids = [&of_a, &of_b].map(|tensor| recording.read(&tensor.slice()));
        let done = gpu.submit(recording)?;
        Ok([done.floats(ids[0])?, done.floats(ids[1])?])
    }

    /// Moves both factors against their gradients.
    pub fn step(&mut self, gradient: &LowRankGradient, step: AdamStep) {
        for (factor, gradient) in self.factors.iter_mut().zip(gradient) {
            factor.step(gradient, step);
        }
    }
}

/// 1 where a weight is not zero; none if it nowhere is.
fn mask(gpu: &Gpu, [rows, cols]: [usize; 2], weight: &[f32]) -> Result<Option<Tensor>, GpuError> {
    if !weight.contains(&0.0) {
        return Ok(None);
    }
    let mask: Vec<f32> = weight.iter().map(|w| f32::from(*w != 0.0)).collect();
    Ok(Some(Tensor::upload(gpu, "mask", rows, cols, &mask)?))
}
