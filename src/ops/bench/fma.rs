//! `bench/fma`: multiplications and additions on registers.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s_mut, params};
use crate::ops::dense::THREADS;
use crate::reference::bench::fma as twin;
use crate::tensor::Tensor;

params! {
    /// Size and the constants of a step.
    struct Params {
        /// Lanes.
        count: u32,
        /// Rounds of four steps.
        rounds: u32,
        /// Factor of a chain.
        factor: f32,
        /// What a step adds.
        step: f32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "bench/fma",
    source: include_str!("../../../shaders/bench/fma.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 0,
    writes: 1,
    host,
};

/// Flops of a lane in a round.
pub const ROUND_FLOPS: usize = 2 * twin::CHAINS * twin::STEPS;

/// Lanes of one task on the host.
const TASK: usize = 192;

/// Records `rounds` rounds of four steps `c = c factor + step` on 32 chains in every element of out, which gets their sum.
pub fn fma(recording: &mut Recording, rounds: usize, [factor, step]: [f32; 2], out: &Tensor) {
    let params = Params {
        count: out.len() as u32,
        rounds: rounds as u32,
        factor,
        step,
    };
    let work = Workload {
        flops: (out.len() * ROUND_FLOPS) as f64 * rounds as f64,
        ..Workload::flat(out.len(), THREADS)
    };
    recording.dispatch(&KERNEL, &[], &params, &[out.slice()], work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let ([], [out]) = call.split::<0, 1>();
    let tasks = f32s_mut(&mut out[..p.count as usize]).par_chunks_mut(TASK).enumerate();
    tasks.for_each(|(i, out)| twin::fma_fast(i * TASK, p.rounds as usize, [p.factor, p.step], out));
}
