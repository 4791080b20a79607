//! `dense/points_gather`: scattered elements of a matrix, each with a factor.

use super::THREADS;
use crate::gpu::{HostCall, Kernel, Recording, Slice, Workload, f32s, f32s_mut, params};
use crate::reference::dense::points_gather as twin;
use crate::tensor::Tensor;

params! {
    /// Sizes and places.
    struct Params {
        /// Places.
        count: u32,
        /// Place of the window's first element.
        offset: u32,
        /// Elements of the window.
        size: u32,
        /// Padding.
        pad0: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "dense/points_gather",
    source: include_str!("../../../shaders/dense/points_gather.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 3,
    writes: 1,
    host,
};

/// Records `out[i] = scale[i] * x[places[i] - row * columns]` for x `[m, n]`, rows `row ..` of a matrix, scale and out
/// `[1, k]`. `places` holds k u32: row times columns plus column; those outside x leave out as it is. Panics on sizes.
pub fn points_gather(recording: &mut Recording, places: &Slice, scale: &Tensor, row: usize, x: &Tensor, out: &Tensor) {
    assert_eq!(places.len, 4 * scale.len() as u64, "points_gather: bytes of the places");
    assert_eq!(scale.len(), out.len(), "points_gather: lengths");
    let params = Params {
        count: scale.len() as u32,
        offset: (row * x.cols()) as u32,
        size: x.len() as u32,
        ..Default::default()
    };
    let bindings = [places.clone(), scale.slice(), x.slice(), out.slice()];
    recording.dispatch(&KERNEL, &[], &params, &bindings, Workload::flat(scale.len(), THREADS));
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let count = p.count as usize;
    let ([places, scale, x], [out]) = call.split::<3, 1>();
    let (scale, x, out) = (f32s(scale), &f32s(x)[..p.size as usize], f32s_mut(out));
    twin::points_gather(
        &places[..count],
        &scale[..count],
        p.offset as usize,
        x,
        &mut out[..count],
    );
}
