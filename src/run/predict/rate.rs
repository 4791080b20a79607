//! How fast a device multiplies, to turn a plan's work into time.

use std::time::Instant;

use crate::gpu::{Gpu, GpuError, Recording};
use crate::ops::dense;
use crate::ops::dense::{Gemm, Layout};
use crate::tensor::Tensor;

/// Share of the rate of bare products that a run reaches, rounding, sums and transfers included. Measured on the host
/// executor with SmolLM2-135M (0.6 to 0.8).
const SHARE: f64 = 0.7;

/// Floating-point operations per second that a run on this device may count on, from a product of `n` inputs measured
/// for a moment. A rough figure: other programs and heat are in it.
pub fn gemm_rate(gpu: &Gpu, n: usize) -> Result<f64, GpuError> {
    /// Seconds to measure at least.
    const LEAST: f64 = 0.1;
    let n = n.clamp(128, 1024);
    let values = vec![0.5; n * n];
    let [a, b] = [
        Tensor::upload(gpu, "a", n, n, &values)?,
        Tensor::upload(gpu, "b", n, n, &values)?,
    ];
    let out = Tensor::empty(gpu, "product", n, n)?;
    let products = |count: usize| -> Result<f64, GpuError> {
        let mut recording = Recording::new();
        for _ in 0..count {
            dense::gemm(&mut recording, gpu, &Gemm::new(&a, &b, Layout::NN, &out));
        }
        let start = Instant::now();
        gpu.submit(recording)?.wait()?;
        Ok(start.elapsed().as_secs_f64())
    };
    // The first compiles the kernel.
    products(1)?;
    let (mut count, mut seconds) = (1, products(1)?);
    while seconds < LEAST {
        count *= 2;
        seconds = products(count)?;
    }
    Ok(SHARE * count as f64 * 2.0 * (n as f64).powi(3) / seconds)
}
