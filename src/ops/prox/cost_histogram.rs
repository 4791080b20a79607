//! `prox/cost_histogram`: counts of costs by their leading bits.

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, params};
use crate::ops::dense::THREADS;
use crate::reference::prox::cost_histogram as twin;
use crate::tensor::Tensor;

params! {
    /// Sizes and places.
    struct Params {
        /// Elements.
        count: u32,
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
    stem: "prox/cost_histogram",
    source: include_str!("../../../shaders/prox/cost_histogram.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 2,
    writes: 1,
    host,
};

/// Records `histogram[leading bits of cost] += 1` for the elements of `[m, n]` whose `w` is not zero; costs are not
/// negative. Histogram is `[1, COST_BINS]` of u32. Panics on sizes.
pub fn cost_histogram(recording: &mut Recording, cost: &Tensor, w: &Tensor, histogram: &Tensor) {
    assert_eq!(cost.shape(), w.shape(), "cost_histogram: shapes");
    assert_eq!(histogram.len(), twin::COST_BINS, "cost_histogram: bins");
    let params = Params {
        count: cost.len() as u32,
        ..Default::default()
    };
    let bindings = [cost.slice(), w.slice(), histogram.slice()];
    recording.dispatch(&KERNEL, &[], &params, &bindings, Workload::flat(cost.len(), THREADS));
}

fn host(call: &mut HostCall<'_>) {
    let count = call.params::<Params>().count as usize;
    let ([cost, w], [histogram]) = call.split::<2, 1>();
    twin::cost_histogram(&cost[..count], &f32s(w)[..count], histogram);
}
