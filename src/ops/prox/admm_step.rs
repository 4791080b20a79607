//! `prox/admm_step`: dual step and right-hand side of ADMM.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::ops::dense::{HOST_TASK, THREADS};
use crate::reference::prox::admm_step as twin;
use crate::tensor::Tensor;

params! {
    /// Size and factors.
    struct Params {
        /// Elements.
        count: u32,
        /// Penalty of the next solve.
        rho: f32,
        /// Penalty of the last solve divided by it.
        ratio: f32,
        /// Padding.
        pad0: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "prox/admm_step",
    source: include_str!("../../../shaders/prox/admm_step.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 2,
    writes: 2,
    host,
};

/// The two penalties a step lies between.
#[derive(Clone, Copy, Debug)]
pub struct Penalty {
    /// That the scaled dual in `z − d` belongs to.
    pub before: f64,
    /// That of the next solve.
    pub next: f64,
}

/// Records `u = before/next (z − d)`, `right = b + next (d − u)`, `z = u` for matrices of one shape: adding
/// `right (H + next I)⁻¹` to z then gives what is to be projected. Panics on other shapes.
pub fn admm_step(recording: &mut Recording, penalty: Penalty, [b, d]: [&Tensor; 2], z: &Tensor, right: &Tensor) {
    for tensor in [d, z, right] {
        assert_eq!(tensor.shape(), b.shape(), "admm_step: shapes");
    }
    let params = Params {
        count: b.len() as u32,
        rho: penalty.next as f32,
        ratio: (penalty.before / penalty.next) as f32,
        pad0: 0,
    };
    let bindings = [b, d, z, right].map(Tensor::slice);
    recording.dispatch(&KERNEL, &[], &params, &bindings, Workload::flat(b.len(), THREADS));
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let count = p.count as usize;
    let ([b, d], [z, right]) = call.split::<2, 2>();
    let reads = f32s(&b[..count])
        .par_chunks(HOST_TASK)
        .zip(f32s(&d[..count]).par_chunks(HOST_TASK));
    let writes = f32s_mut(&mut z[..count])
        .par_chunks_mut(HOST_TASK)
        .zip(f32s_mut(&mut right[..count]).par_chunks_mut(HOST_TASK));
    reads
        .zip(writes)
        .for_each(|((b, d), (z, right))| twin::admm_step([p.rho, p.ratio], b, d, z, right));
}
