//! `prox/project_nm`: projection on N:M sparsity.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::ops::dense::{HOST_TASK, THREADS};
use crate::reference::prox::project_nm as twin;
use crate::tensor::Tensor;

params! {
    /// Sizes.
    struct Params {
        /// Elements in all.
        count: u32,
        /// Elements kept of a group.
        keep: u32,
        /// Elements of a group.
        group: u32,
        /// Padding.
        pad0: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "prox/project_nm",
    source: include_str!("../../../shaders/prox/project_nm.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 2,
    writes: 2,
    host,
};

/// Records the projection that keeps the n largest `|v|` of every m consecutive elements of a row, among those with
/// `free` 1; ties go to the lower index, NaN counts as largest. out = v where kept, else 0; support = 1 or 0.
/// A group with fewer than n free elements keeps those. Panics unless `1 <= n <= m <= 16` and m divides the columns.
pub fn project_nm(
    recording: &mut Recording,
    v: &Tensor,
    free: &Tensor,
    n: usize,
    m: usize,
    out: &Tensor,
    support: &Tensor,
) {
    assert!(1 <= n && n <= m && m <= 16, "project_nm: {n}:{m}");
    assert!(
        v.cols().is_multiple_of(m),
        "project_nm: {} columns in groups of {m}",
        v.cols()
    );
    for tensor in [free, out, support] {
        assert_eq!(tensor.shape(), v.shape(), "project_nm: shapes");
    }
    let params = Params {
        count: v.len() as u32,
        keep: n as u32,
        group: m as u32,
        pad0: 0,
    };
    let bindings = [v.slice(), free.slice(), out.slice(), support.slice()];
    let work = Workload::flat(v.len(), THREADS);
    recording.dispatch(&KERNEL, &[], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let (count, group) = (p.count as usize, p.group as usize);
    let task = HOST_TASK / group * group;
    let ([v, free], [out, support]) = call.split::<2, 2>();
    let reads = f32s(&v[..count])
        .par_chunks(task)
        .zip(f32s(&free[..count]).par_chunks(task));
    let writes = f32s_mut(&mut out[..count])
        .par_chunks_mut(task)
        .zip(f32s_mut(&mut support[..count]).par_chunks_mut(task));
    reads
        .zip(writes)
        .for_each(|((v, free), (out, support))| twin::project_nm_fast(p.keep as usize, group, v, free, out, support));
}
