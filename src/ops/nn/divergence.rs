//! `nn/divergence`: how far two models' predictions lie apart, over tiles of the vocabulary.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::nn::divergence as twin;
use crate::tensor::{DType, Tensor};

params! {
    /// Sizes and place of the tile.
    struct Params {
        /// Rows of the tiles.
        rows: u32,
        /// Vocabulary ids in the tiles.
        cols: u32,
        /// Id of column 0.
        first_col: u32,
        /// Padding.
        pad0: u32,
    }
}

/// The kernel's row.
pub static DIVERGENCE: Kernel = Kernel {
    stem: "nn/divergence",
    source: include_str!("../../../shaders/nn/divergence.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 2,
    writes: 1,
    host,
};

/// Records the merge of one tile of two models' logits into the state of each row.
///
/// `p` and `q` `[rows, tile]`: logits of ids `first_col ..`; `state` `[rows, 8]`: 0 largest p, 1 sum of
/// `exp(p - largest)`, 2 and 3 the same of q, 4 sum of `exp(p - largest p) (p - q)`, 5 and 6 ids of the largest p and q
/// as f32 (exact below 2^24; the first id wins ties), 7 zero. `first_col` 0 starts afresh whatever the state held.
/// After the last tile `KL(P‖Q) = s4 / s1 - (s0 + ln s1) + (s2 + ln s3)`. Panics on shapes that do not fit.
pub fn divergence(recording: &mut Recording, p: &Tensor, q: &Tensor, first_col: usize, state: &Tensor) {
    let [rows, cols] = p.shape();
    assert_eq!(q.shape(), [rows, cols], "divergence: shape of q");
    assert_eq!(state.shape(), [rows, 8], "divergence: shape of the state");
    assert!(
        first_col + cols <= 1 << 24,
        "divergence: ids beyond 2^24 are not exact in f32"
    );
    let f32s = [p, q, state].iter().all(|t| t.dtype() == DType::F32);
    assert!(f32s, "divergence: p, q and state are f32");
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        first_col: first_col as u32,
        pad0: 0,
    };
    let bindings = [p.slice(), q.slice(), state.slice()];
    let work = Workload::rows(rows, 16.0 * p.len() as f64);
    recording.dispatch(&DIVERGENCE, &[], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let params: Params = call.params();
    let ([p, q], [state]) = call.split::<2, 1>();
    let (rows, cols) = (params.rows as usize, params.cols as usize);
    let pairs = f32s(p).par_chunks(cols).zip(f32s(q).par_chunks(cols)).take(rows);
    pairs
        .zip(f32s_mut(state).par_chunks_mut(8))
        .for_each(|((p, q), state)| twin::divergence_fast(p, q, params.first_col as usize, state));
}
