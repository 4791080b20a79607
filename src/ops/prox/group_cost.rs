//! `prox/group_cost`: cost of bringing groups of weights to N:M.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::ops::dense::THREADS;
use crate::reference::prox::group_cost as twin;
use crate::tensor::Tensor;

params! {
    /// Sizes and places.
    struct Params {
        /// Groups.
        groups: u32,
        /// Kept per group.
        keep: u32,
        /// Weights per group.
        group: u32,
        /// Padding.
        pad0: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "prox/group_cost",
    source: include_str!("../../../shaders/prox/group_cost.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 2,
    writes: 2,
    host,
};

/// Records, for every `m` consecutive weights: `cost` = the sum of their `costs` without the `n` largest among those
/// with w not zero, `open` = 1 where more than `n` are not zero, else 0. costs and w are `[rows, cols]`, cost and open
/// `[rows, cols / m]`. Panics on sizes.
pub fn group_cost(recording: &mut Recording, [costs, w]: [&Tensor; 2], [n, m]: [usize; 2], [cost, open]: [&Tensor; 2]) {
    assert!(
        n < m && costs.cols().is_multiple_of(m),
        "group_cost: {n}:{m} of {}",
        costs.cols()
    );
    assert_eq!(costs.shape(), w.shape(), "group_cost: shapes");
    for out in [cost, open] {
        assert_eq!(
            out.shape(),
            [costs.rows(), costs.cols() / m],
            "group_cost: shape of a result"
        );
    }
    let params = Params {
        groups: cost.len() as u32,
        keep: n as u32,
        group: m as u32,
        pad0: 0,
    };
    let bindings = [costs, w, cost, open].map(Tensor::slice);
    recording.dispatch(&KERNEL, &[], &params, &bindings, Workload::flat(cost.len(), THREADS));
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let (groups, m) = (p.groups as usize, p.group as usize);
    let ([costs, w], [cost, open]) = call.split::<2, 2>();
    let groups_of = |x| f32s(x)[..groups * m].par_chunks_exact(m);
    let results = f32s_mut(&mut cost[..groups]).par_iter_mut();
    let results = results.zip(f32s_mut(&mut open[..groups]));
    groups_of(costs)
        .zip(groups_of(w))
        .zip(results)
        .for_each(|((costs, w), (cost, open))| {
            let (sum, more) = twin::group_cost(costs, w, p.keep as usize);
            (*cost, *open) = (sum, f32::from(more));
        });
}
