//! Seeded data, and samples of places to check.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::gpu::{Gpu, GpuError};
use crate::tensor::Tensor;

/// Random numbers.
pub(super) struct Data(Pcg64);

impl Data {
    pub(super) fn new(seed: u64) -> Self {
        Data(Pcg64::seed_from_u64(seed))
    }

    /// Uniform in [-1, 1).
    pub(super) fn uniform(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.0.random_range(-1.0..1.0)).collect()
    }

    /// Uniform values on the device and here.
    pub(super) fn tensor(&mut self, gpu: &Gpu, rows: usize, cols: usize) -> Result<(Tensor, Vec<f32>), GpuError> {
        let values = self.uniform(rows * cols);
        Ok((Tensor::upload(gpu, "bench", rows, cols, &values)?, values))
    }

    /// Inputs of a linear, `[tokens, n]`: a few directions they have in common, and a few loud channels, as real
    /// activations have.
    pub(super) fn activations(&mut self, tokens: usize, n: usize) -> Vec<f32> {
        const COMMON: usize = 8;
        let mix = self.uniform(COMMON * n);
        let mut out = self.uniform(tokens * n);
        for row in out.chunks_mut(n) {
            let latent = self.uniform(COMMON);
            for (c, value) in row.iter_mut().enumerate() {
                let shared: f32 = latent.iter().enumerate().map(|(i, l)| l * mix[i * n + c]).sum();
                *value = (*value + shared) * if c % 37 == 5 { 15.0 } else { 1.0 };
            }
        }
        out
    }
}

/// A tensor full of NaN: what a kernel does not write stays visible.
pub(super) fn poisoned(gpu: &Gpu, rows: usize, cols: usize) -> Result<Tensor, GpuError> {
    Tensor::upload(gpu, "bench result", rows, cols, &vec![f32::NAN; rows * cols])
}

/// At most `most` of the numbers below `n`, evenly spread, the first and the last among them.
pub(super) fn sample(n: usize, most: usize) -> Vec<usize> {
    if n <= most {
        return (0..n).collect();
    }
    (0..most).map(|i| i * (n - 1) / (most - 1).max(1)).collect()
}

/// [`sample`] of whole groups of `group` neighbours; `n` is a multiple of it.
pub(super) fn sample_groups(n: usize, most: usize, group: usize) -> Vec<usize> {
    let groups = sample(n / group, most / group);
    groups.into_iter().flat_map(|g| g * group..(g + 1) * group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_reach_both_ends() {
        assert_eq!(sample(3, 5), [0, 1, 2]);
        assert_eq!(sample(101, 3), [0, 50, 100]);
        assert_eq!(sample_groups(40, 8, 4), [0, 1, 2, 3, 36, 37, 38, 39]);
    }
}
