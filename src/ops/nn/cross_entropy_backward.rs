//! `nn/cross_entropy_backward`: gradient of the loss over tiles of the vocabulary.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Slice, Workload, f32s, f32s_mut, params};
use crate::reference::nn::cross_entropy_backward as twin;
use crate::tensor::{DType, Tensor};

params! {
    /// Sizes and place of the tile.
    struct Params {
        /// Rows of the tile.
        rows: u32,
        /// Vocabulary ids in the tile.
        cols: u32,
        /// Id of column 0.
        first_col: u32,
        /// Padding.
        pad0: u32,
    }
}

/// The kernel's row.
pub static CROSS_ENTROPY_BACKWARD: Kernel = Kernel {
    stem: "nn/cross_entropy_backward",
    source: include_str!("../../../shaders/nn/cross_entropy_backward.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 3,
    writes: 1,
    host,
};

/// Records `logits = factor (softmax - onehot(target))` for one tile of logits, in place.
///
/// `state` `[rows, 4]` is what [`super::cross_entropy()`] left after the last tile; `targets`: one u32 id per row; `factors`
/// `[rows, 1]`; `logits` `[rows, tile]`: those of ids `first_col ..`. A row whose target is `u32::MAX` or whose factor is 0
/// becomes 0 whatever it held. Panics on shapes that do not fit.
pub fn cross_entropy_backward(
    recording: &mut Recording,
    [state, factors]: [&Tensor; 2],
    targets: &Slice,
    first_col: usize,
    logits: &Tensor,
) {
    let [rows, cols] = logits.shape();
    assert_eq!(state.shape(), [rows, 4], "cross_entropy_backward: shape of the state");
    assert_eq!(
        factors.shape(),
        [rows, 1],
        "cross_entropy_backward: shape of the factors"
    );
    let bytes = targets.len;
    assert!(
        bytes >= rows as u64 * 4,
        "cross_entropy_backward: {bytes} bytes of targets"
    );
    let f32s = [state, factors, logits].iter().all(|t| t.dtype() == DType::F32);
    assert!(f32s, "cross_entropy_backward: state, factors and logits are f32");
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        first_col: first_col as u32,
        pad0: 0,
    };
    let bindings = [state.slice(), targets.clone(), factors.slice(), logits.slice()];
    let work = Workload::flat(logits.len(), 64);
    recording.dispatch(&CROSS_ENTROPY_BACKWARD, &[], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let first = p.first_col as usize;
    let ([state, targets, factors], [logits]) = call.split::<3, 1>();
    let logits = f32s_mut(logits).par_chunks_mut(p.cols as usize).take(p.rows as usize);
    logits
        .zip(f32s(state).par_chunks(4))
        .zip(targets.par_iter().zip(f32s(factors)))
        .for_each(|((logits, state), (target, factor))| {
            twin::cross_entropy_backward_fast(state, *target, *factor, first, logits);
        });
}
