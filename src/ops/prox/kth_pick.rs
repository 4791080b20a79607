//! `prox/kth_pick`: the pass of a radix select over the histograms.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Workload, params};
use crate::reference::prox::{kth_histogram::BINS, kth_pick as twin};
use crate::tensor::Tensor;

use super::Digit;

params! {
    /// Number of segments, what to keep, and the digit.
    struct Params {
        /// Number of segments.
        segments: u32,
        /// Elements to keep per segment, used by the first pass.
        keep: u32,
        /// 1: first pass.
        start: u32,
        /// 0: a digit of the magnitude; 1: of the reversed index.
        by_index: u32,
        /// Lowest bit of the digit.
        shift: u32,
        /// Padding.
        pad0: u32,
        /// Padding.
        pad1: u32,
        /// Padding.
        pad2: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "prox/kth_pick",
    source: include_str!("../../../shaders/prox/kth_pick.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 0,
    writes: 2,
    host,
};

/// Records the choice of the next digit of the first `segments` thresholds, and clears their histograms. `start` is
/// given for the first digit only: how many elements to keep.
pub fn kth_pick(
    recording: &mut Recording,
    segments: usize,
    start: Option<usize>,
    digit: Digit,
    histogram: &Tensor,
    state: &Tensor,
) {
    let params = Params {
        segments: segments as u32,
        keep: u32::try_from(start.unwrap_or(0)).unwrap_or(u32::MAX),
        start: u32::from(start.is_some()),
        by_index: u32::from(digit.by_index),
        shift: digit.shift,
        ..Params::default()
    };
    let bindings = [histogram.slice(), state.slice()];
    let work = Workload::rows(segments, (segments * BINS) as f64 * 4.0);
    recording.dispatch(&KERNEL, &[], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let ([], [histogram, state]) = call.split::<0, 2>();
    let start = (p.start == 1).then_some(p.keep);
    let segments = histogram.par_chunks_mut(BINS).zip(state.par_chunks_mut(4));
    segments
        .take(p.segments as usize)
        .for_each(|(bins, state)| twin::kth_pick(start, p.by_index == 1, p.shift, bins, state));
}
