//! `nn/cross_entropy`: running softmax statistics over tiles of the vocabulary.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Slice, Workload, f32s, f32s_mut, params};
use crate::reference::nn::cross_entropy as twin;
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
pub static CROSS_ENTROPY: Kernel = Kernel {
    stem: "nn/cross_entropy",
    source: include_str!("../../../shaders/nn/cross_entropy.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 2,
    writes: 1,
    host,
};

/// Records the merge of one tile of logits into the state of each row, so that tokens x vocabulary never exists.
///
/// `logits` `[rows, tile]`: the logits of ids `first_col ..`; `targets`: one u32 id per row; `state` `[rows, 4]`: largest
/// logit, sum of `exp(logit - largest)`, logit of the target (0 until its tile comes), id of the largest logit as f32
/// (exact below 2^24; the first id wins ties). `first_col` 0 starts afresh whatever the state held. After the last tile
/// the negative log-likelihood is `state[0] + ln(state[1]) - state[2]`. Panics on shapes that do not fit.
pub fn cross_entropy(recording: &mut Recording, logits: &Tensor, targets: &Slice, first_col: usize, state: &Tensor) {
    let [rows, cols] = logits.shape();
    assert_eq!(state.shape(), [rows, 4], "cross_entropy: shape of the state");
    assert!(
        targets.len >= rows as u64 * 4,
        "cross_entropy: {} bytes of targets",
        targets.len
    );
    assert!(
        first_col + cols <= 1 << 24,
        "cross_entropy: ids beyond 2^24 are not exact in f32"
    );
    let f32s = logits.dtype() == DType::F32 && state.dtype() == DType::F32;
    assert!(f32s, "cross_entropy: logits and state are f32");
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        first_col: first_col as u32,
        pad0: 0,
    };
    let bindings = [logits.slice(), targets.clone(), state.slice()];
    let work = Workload::rows(rows, 8.0 * logits.len() as f64);
    recording.dispatch(&CROSS_ENTROPY, &[], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let ([logits, targets], [state]) = call.split::<2, 1>();
    let rows = f32s(logits).par_chunks(p.cols as usize).take(p.rows as usize);
    rows.zip(targets)
        .zip(f32s_mut(state).par_chunks_mut(4))
        .for_each(|((row, target), state)| {
            twin::cross_entropy_fast(row, *target as usize, p.first_col as usize, state);
        });
}
