//! `prox/permute_swap`: a round of the search for a permutation under an N:M pattern.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Slice, Workload, f32s, f32s_mut, params};
use crate::reference::prox::permute_swap as twin;
use crate::tensor::Tensor;

params! {
    /// Sizes.
    struct Params {
        /// Rows of the weight.
        rows: u32,
        /// Channels of a group.
        size: u32,
        /// Kept of a group in a row.
        keep: u32,
        /// Pairs of groups.
        pairs: u32,
        /// First of them.
        first: u32,
        /// Whether channels are exchanged.
        swaps: u32,
        /// Padding.
        pad0: u32,
        /// Padding.
        pad1: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "prox/permute_swap",
    source: include_str!("../../../shaders/prox/permute_swap.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 2,
    writes: 2,
    host,
};

/// Gains below this share of what is kept may be rounding (`LEAST` in the shader).
const LEAST: f32 = 1e-6;

/// A round: disjoint pairs of groups of an N:M pattern.
pub struct PermuteSwap<'a> {
    /// Energies `[channels, rows]`.
    pub energy: &'a Tensor,
    /// Kept of every group, and channels of a group (2 to 16).
    pub pattern: [usize; 2],
    /// Two group numbers per pair, as u32, of all rounds.
    pub pairs: &'a Slice,
    /// First pair of this round. A group in two of its pairs is a race; a pair of a group with itself is only summed up.
    pub first: usize,
    /// Whether anything is exchanged, or only summed up.
    pub swaps: bool,
}

/// Records the round: in each pair the exchange of one channel that keeps most energy is made in `order` (u32, the channel
/// at each place), if it gains. `sums` `[2, pairs]`: the energy kept before, and what was gained. Panics on sizes.
pub fn permute_swap(recording: &mut Recording, call: &PermuteSwap<'_>, order: &Slice, sums: &Tensor) {
    let ([channels, rows], [keep, size], pairs) = (call.energy.shape(), call.pattern, sums.cols());
    assert!(
        1 <= keep && keep < size && size <= twin::MOST,
        "permute_swap: {keep}:{size}"
    );
    assert!(channels.is_multiple_of(size), "permute_swap: {channels} channels");
    assert_eq!(order.len, 4 * channels as u64, "permute_swap: bytes of the order");
    assert_eq!(sums.rows(), 2, "permute_swap: sums");
    assert!(
        call.pairs.len >= 8 * (call.first + pairs) as u64,
        "permute_swap: number of pairs"
    );
    let params = Params {
        rows: rows as u32,
        size: size as u32,
        keep: keep as u32,
        pairs: pairs as u32,
        first: call.first as u32,
        swaps: u32::from(call.swaps),
        ..Default::default()
    };
    let bindings = [call.energy.slice(), call.pairs.clone(), order.clone(), sums.slice()];
    let work = Workload::rows(pairs, (pairs * rows * size * size * 8) as f64);
    recording.dispatch(&KERNEL, &[], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let (rows, size, pairs) = (p.rows as usize, p.size as usize, p.pairs as usize);
    let ([energy, list], [order, sums]) = call.split::<2, 2>();
    let energy = f32s(energy);
    let list = &list[2 * p.first as usize..][..2 * pairs];
    let places: Vec<[usize; 2]> = list
        .chunks(2)
        .map(|g| [g[0], g[1]].map(|g| g as usize * size))
        .collect();
    let best = |[a, b]: &[usize; 2]| {
        let of = |place: usize| -> Vec<&[f32]> {
            let channels = order[place..place + size].iter();
            channels.map(|c| &energy[*c as usize * rows..][..rows]).collect()
        };
        let other = if a == b { Vec::new() } else { of(*b) };
        twin::permute_swap(p.keep as usize, &of(*a), &other)
    };
    let found: Vec<twin::Swap<f32>> = places.par_iter().map(best).collect();
    let (kept, gained) = f32s_mut(sums).split_at_mut(pairs);
    for (i, (swap, [a, b])) in found.iter().zip(&places).enumerate() {
        let made = p.swaps != 0 && a != b && swap.gain > LEAST * swap.kept;
        (kept[i], gained[i]) = (swap.kept, if made { swap.gain } else { 0.0 });
        if made {
            order.swap(a + swap.members[0], b + swap.members[1]);
        }
    }
}
