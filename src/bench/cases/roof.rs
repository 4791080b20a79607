//! The kernels that measure the device itself.

use super::super::case::{Accuracy, Case, error_of};
use super::super::data::{Data, poisoned, sample};
use crate::gpu::{Gpu, GpuError, Recording};
use crate::ops::bench;
use crate::reference::bench::fma as twin;

/// Rounds to begin with.
pub(in crate::bench) const ROUNDS: usize = 16;

/// Steps over which a chain forgets where it began: so many that the result tells how many steps were taken.
const MEMORY: usize = 1 << 13;
/// Chains that end at 2.
const FACTORS: [f32; 2] = [1.0 - 1.0 / MEMORY as f32, 2.0 / MEMORY as f32];

/// `rounds` rounds in each of `lanes` lanes.
pub(in crate::bench) fn fma(gpu: &Gpu, lanes: usize, rounds: usize) -> Result<Case, GpuError> {
    let out = poisoned(gpu, 1, lanes)?;
    let result = out.clone();
    let record = move |recording: &mut Recording, _: &Gpu| {
        bench::fma(recording, rounds, FACTORS, &out);
        Ok(())
    };
    let look = move |gpu: &Gpu| {
        let found = result.fetch(gpu)?;
        let lanes: Vec<usize> = sample(found.len(), 257);
        let mut wanted = vec![0.0; lanes.len()];
        for (lane, wanted) in lanes.iter().zip(&mut wanted) {
            twin::fma(*lane, rounds, FACTORS.map(f64::from), std::slice::from_mut(wanted));
        }
        let found_there: Vec<f32> = lanes.iter().map(|lane| found[*lane]).collect();
        // A step rounds twice where it is not fused, and errors are forgotten as the beginning is.
        let steps = (twin::STEPS * rounds).min(MEMORY);
        let bound = 2.0 * (steps + twin::CHAINS) as f64 * f64::from(f32::EPSILON);
        Ok(Accuracy::new(
            error_of(&found_there, &wanted),
            bound,
            lanes.len(),
            found.len(),
        ))
    };
    let flops = (lanes * bench::ROUND_FLOPS) as f64 * rounds as f64;
    Ok(Case::recorded([flops, 4.0 * lanes as f64], record, look))
}

/// A copy of that many elements.
pub(in crate::bench) fn copy(gpu: &Gpu, elements: usize) -> Result<Case, GpuError> {
    // One row of a few thousand numbers again and again: random ones would take longer than the copy.
    let row = Data::new(0).uniform(4096.min(elements));
    let values: Vec<f32> = row.iter().cycle().take(elements).copied().collect();
    let x = crate::tensor::Tensor::upload(gpu, "bench", 1, elements, &values)?;
    let out = poisoned(gpu, 1, elements)?;
    let result = out.clone();
    let record = move |recording: &mut Recording, _: &Gpu| {
        bench::copy(recording, &x, &out);
        Ok(())
    };
    let look = move |gpu: &Gpu| {
        let same = result.fetch(gpu)? == values;
        let error = if same { 0.0 } else { f64::INFINITY };
        Ok(Accuracy::new(error, 0.0, elements, elements))
    };
    Ok(Case::recorded([0.0, 8.0 * elements as f64], record, look))
}
