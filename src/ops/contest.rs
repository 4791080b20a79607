//! The contest between the tiles of a product-shaped kernel, on random numbers of the size in question.

use rand::{RngExt, SeedableRng};

use crate::gpu::{Contest, Gpu, GpuError, Recording, compose, rounded_log};
use crate::ops::Variant;
use crate::ops::dense::SUM_PARTS;
use crate::tensor::Tensor;

/// Sizes are measured up to here: larger products behave alike, and memory is the user's.
const LARGEST: usize = 2048;
/// Flops per submission at least, so that its own cost does not decide.
const FLOPS: f64 = 2e9;
/// Elements that are compared with sums in f64.
const SAMPLES: usize = 256;

/// Rounded to a power of two, at most `LARGEST`.
pub(crate) fn contest_size(size: usize) -> usize {
    1 << rounded_log(size).min(LARGEST.ilog2())
}

/// Uniform numbers in -1..1.
pub(crate) fn uniform(count: usize, seed: u64) -> Vec<f32> {
    let mut random = rand_pcg::Pcg32::seed_from_u64(seed);
    (0..count).map(|_| random.random::<f32>() * 2.0 - 1.0).collect()
}

type Record<'a> = dyn Fn(&mut Recording, Variant) + 'a;
type Truth<'a> = dyn Fn(usize, usize) -> f64 + 'a;

/// Variants that write the same `[rows, cols]` product with sums of `inner` terms.
pub(crate) struct Products<'a> {
    pub(crate) gpu: &'a Gpu,
    pub(crate) variants: Vec<Variant>,
    /// Knobs of the kernels but for the tile.
    pub(crate) knobs: Vec<u32>,
    pub(crate) out: Tensor,
    pub(crate) inner: usize,
    /// Appends one whole product into `out`.
    pub(crate) record: Box<Record<'a>>,
    /// Element (row, col) in f64.
    pub(crate) truth: Box<Truth<'a>>,
}

impl Products<'_> {
    fn recorded(&self, candidate: usize, times: usize) -> Recording {
        let mut recording = Recording::new();
        for _ in 0..times {
            (self.record)(&mut recording, self.variants[candidate]);
        }
        recording
    }
}

impl Contest for Products<'_> {
    fn candidates(&self) -> Vec<(String, String)> {
        let candidate = |variant: &Variant| {
            // A kernel that cannot be composed is rejected when it is checked.
            let mut source = compose(variant.kernel, &variant.knobs(&self.knobs)).unwrap_or_default();
            if variant.parts > 1 {
                source += SUM_PARTS.source;
            }
            (variant.name(), source)
        };
        self.variants.iter().map(candidate).collect()
    }

    fn check(&self, candidate: usize) -> Result<Option<String>, GpuError> {
        let [rows, cols] = self.out.shape();
        // Nothing of an earlier candidate may pass for this one's.
        let poison = Tensor::upload(self.gpu, "poison", rows, cols, &vec![f32::NAN; rows * cols])?;
        let mut recording = Recording::new();
        recording.copy(&poison.slice(), &self.out.slice());
        self.gpu.submit_trial(recording)?;
        let mut recording = self.recorded(candidate, 1);
        let id = recording.read(&self.out.slice());
        let found = self.gpu.submit_trial(recording)?.floats(id)?;
        if let Some(at) = found.iter().position(|v| !v.is_finite()) {
            return Ok(Some(format!("element {at} is {}", found[at])));
        }
        // Sums of products of uniform numbers.
        let bound = self.variants[candidate].error_per_term() * self.inner as f64;
        let step = (found.len() / SAMPLES).max(1) | 1;
        for at in (0..found.len()).step_by(step).chain([found.len() - 1]) {
            let (row, col) = (at / cols, at % cols);
            let truth = (self.truth)(row, col);
            let error = (f64::from(found[at]) - truth).abs();
            if error > bound {
                return Ok(Some(format!("element ({row}, {col}) is {}, not {truth}", found[at])));
            }
        }
        Ok(None)
    }

    fn play(&self, candidate: usize) -> Result<(), GpuError> {
        let [rows, cols] = self.out.shape();
        let flops = 2.0 * (rows * cols) as f64 * self.inner as f64;
        let times = (FLOPS / flops).clamp(1.0, 64.0) as usize;
        let mut recording = self.recorded(candidate, times);
        // A readback waits for all before it.
        let id = recording.read(&self.out.row_window(0, 1).slice());
        self.gpu.submit_trial(recording)?.floats(id).map(|_| ())
    }
}
