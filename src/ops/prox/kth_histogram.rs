//! `prox/kth_histogram`: the pass of a radix select over the elements.

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, params};
use crate::reference::prox::kth_histogram as twin;
use crate::tensor::Tensor;

pub use crate::reference::prox::kth_histogram::{Digit, Segments};

params! {
    /// The cut into segments and the digit.
    struct Params {
        /// Columns of the matrix.
        cols: u32,
        /// Rows of a segment inside this window.
        height: u32,
        /// Columns of a segment.
        width: u32,
        /// Segments that the window touches.
        segments: u32,
        /// Index inside its segment of the window's first element.
        base: u32,
        /// Largest index inside a segment.
        last: u32,
        /// 0: a digit of the magnitude; 1: of the reversed index.
        by_index: u32,
        /// Lowest bit of the digit.
        shift: u32,
        /// Mask of the bits above the digit.
        above: u32,
        /// Workgroups per segment.
        pieces: u32,
        /// Padding.
        pad0: u32,
        /// Padding.
        pad1: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "prox/kth_histogram",
    source: include_str!("../../../shaders/prox/kth_histogram.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 3,
    writes: 1,
    host,
};

/// Records `histogram[segment, digit] += ` number of free elements of a window v of rows whose digits above `digit`
/// equal those in state `[segments, 4]`. Histogram is `[segments, 256]` of u32, state holds u32 too.
pub fn kth_histogram(
    recording: &mut Recording,
    cut: &Segments,
    digit: Digit,
    v: &Tensor,
    free: &Tensor,
    state: &Tensor,
    histogram: &Tensor,
) {
    /// Elements per workgroup: enough to pay for clearing and adding 256 counters.
    const PIECE: usize = 8192;
    let pieces = (cut.height * cut.width).div_ceil(PIECE);
    let params = Params {
        cols: cut.cols as u32,
        height: cut.height as u32,
        width: cut.width as u32,
        segments: cut.count as u32,
        base: cut.base as u32,
        last: cut.last as u32,
        by_index: u32::from(digit.by_index),
        shift: digit.shift,
        above: digit.above(),
        pieces: pieces as u32,
        ..Params::default()
    };
    let bindings = [v.slice(), free.slice(), state.slice(), histogram.slice()];
    let work = Workload::rows(cut.count * pieces, 4.0 * v.len() as f64);
    recording.dispatch(&KERNEL, &[], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let cut = Segments {
        cols: p.cols as usize,
        height: p.height as usize,
        width: p.width as usize,
        count: p.segments as usize,
        base: p.base as usize,
        last: p.last as usize,
    };
    let digit = Digit {
        by_index: p.by_index == 1,
        shift: p.shift,
    };
    let ([v, free, state], [histogram]) = call.split::<3, 1>();
    twin::kth_histogram(&cut, digit, v, f32s(free), state, histogram);
}
