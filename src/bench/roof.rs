//! What the device can do at most, measured: a kernel that multiplies and adds on registers, and one that copies.

use super::case::{Accuracy, Case};
use super::measure::{Samples, measure};
use super::spec::Spec;
use super::{BenchError, BenchKernel, cases};
use crate::gpu::Gpu;

/// Seconds a sample of the FMA kernel should last: long enough for clocks to rise.
const FMA_SECONDS: f64 = 0.03;

/// A roof's kernel, timed.
pub(super) struct Roof {
    pub(super) spec: Spec,
    pub(super) case: Case,
    pub(super) accuracy: Accuracy,
    pub(super) samples: Samples,
}

/// Samples of a roof for one of another kernel: it is the best that counts, and other work may be in the way.
const SAMPLES: usize = 3;

impl Roof {
    /// Best rate of any sample, in 1e9 a second.
    pub(super) fn best(&self) -> f64 {
        let shortest = self.samples.seconds.iter().copied().fold(f64::INFINITY, f64::min);
        self.case.flops.max(self.case.bytes) / shortest * 1e-9
    }
}

/// Whether a processor does the work, be it through a driver.
fn on_processor(gpu: &Gpu) -> bool {
    gpu.in_host_memory()
}

/// FMA, then copy.
pub(super) fn roofs(gpu: &Gpu, repetitions: usize) -> Result<[Roof; 2], BenchError> {
    let lanes = if on_processor(gpu) { 1 << 14 } else { 1 << 20 };
    let first = cases::fma(gpu, lanes, cases::ROUNDS)?;
    verify(gpu, &first, BenchKernel::Fma)?;
    let samples = measure(gpu, &first, 1)?;
    let rounds = (cases::ROUNDS as f64 * FMA_SECONDS / samples.seconds[0]).clamp(16.0, 8192.0) as usize;
    let fma = cases::fma(gpu, lanes, rounds)?;
    // Larger than caches are.
    let mib: u64 = if on_processor(gpu) { 128 } else { 256 };
    let limits = gpu.limits();
    let elements = ((mib << 20).min(limits.binding).min(limits.buffer) / 16 * 4) as usize;
    let copy = cases::copy(gpu, elements)?;
    let roof = |kernel, variant: &str, case: Case, size| -> Result<Roof, BenchError> {
        let accuracy = verify(gpu, &case, kernel)?;
        let samples = measure(gpu, &case, SAMPLES * repetitions)?;
        Ok(Roof {
            spec: Spec::new(kernel, variant, "roof", size),
            case,
            accuracy,
            samples,
        })
    };
    Ok([
        roof(BenchKernel::Fma, "peak", fma, [1, lanes, 0])?,
        roof(BenchKernel::Copy, "peak", copy, [1, elements, 0])?,
    ])
}

fn verify(gpu: &Gpu, case: &Case, kernel: BenchKernel) -> Result<Accuracy, BenchError> {
    let accuracy = (case.check)(gpu)?;
    if accuracy.is_fine() {
        return Ok(accuracy);
    }
    Err(BenchError::Wrong(format!(
        "the {} kernel is wrong on {} (error {:.1e}, at most {:.1e} is rounding), so that there is nothing to measure against",
        kernel.name(),
        gpu.name(),
        accuracy.error,
        accuracy.bound
    )))
}
