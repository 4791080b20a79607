//! `dense/points_scatter`: values with a factor, to scattered places of a matrix.

use super::THREADS;
use crate::gpu::{HostCall, Kernel, Recording, Slice, Workload, f32s, f32s_mut, params};
use crate::reference::dense::points_scatter as twin;
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
    stem: "dense/points_scatter",
    source: include_str!("../../../shaders/dense/points_scatter.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 3,
    writes: 1,
    host,
};

/// Records `x[places[i] - row * columns] = scale[i] * values[i]` for x `[m, n]`, rows `row ..` of a matrix, scale and
/// values `[1, k]`. `places` holds k u32, none twice: row times columns plus column; those outside x are skipped.
/// Panics on sizes.
pub fn points_scatter(
    recording: &mut Recording,
    places: &Slice,
    [scale, values]: [&Tensor; 2],
    row: usize,
    x: &Tensor,
) {
    assert_eq!(
        places.len,
        4 * scale.len() as u64,
        "points_scatter: bytes of the places"
    );
    assert_eq!(scale.len(), values.len(), "points_scatter: lengths");
    let params = Params {
        count: scale.len() as u32,
        offset: (row * x.cols()) as u32,
        size: x.len() as u32,
        ..Default::default()
    };
    let bindings = [places.clone(), scale.slice(), values.slice(), x.slice()];
    recording.dispatch(&KERNEL, &[], &params, &bindings, Workload::flat(scale.len(), THREADS));
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let count = p.count as usize;
    let ([places, scale, values], [x]) = call.split::<3, 1>();
    let (scale, values) = (&f32s(scale)[..count], &f32s(values)[..count]);
    let x = &mut f32s_mut(x)[..p.size as usize];
    twin::points_scatter(&places[..count], scale, values, p.offset as usize, x);
}
