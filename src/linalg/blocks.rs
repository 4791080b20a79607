//! Work on a tall matrix in blocks of rows that fit a binding.

use crate::gpu::{Gpu, Recording};
use crate::ops::dense::{self, GramPart};
use crate::tensor::Tensor;

/// Rows of a window are a multiple of this: of any width it then begins at a multiple of 256 bytes.
const ALIGNED: usize = 64;

/// Records `total += leftᵀ right` in row blocks that fit a binding; left `[k, rows]`, right `[k, cols]`.
pub fn add_product(recording: &mut Recording, gpu: &Gpu, [left, right]: [&Tensor; 2], total: &Tensor) {
    for (first, rows) in row_blocks(gpu, total) {
        let part = GramPart {
            a: left,
            a_col: first,
            b: right,
            total: &total.row_window(first, rows),
            upper: false,
        };
        dense::gram_chunk(recording, gpu, &part);
    }
}

/// Rows of a tensor in blocks that fit a binding, the first of each and their number; tensors of the same rows, however
/// wide, can be cut alike as far as theirs fit too.
pub fn row_blocks(gpu: &Gpu, tensor: &Tensor) -> impl Iterator<Item = (usize, usize)> + use<> {
    let rows = tensor.rows();
    let step = match tensor.window_rows(gpu, rows) {
        all if all >= rows => rows,
        fitting => (fitting / ALIGNED * ALIGNED).max(ALIGNED),
    };
    (0..rows)
        .step_by(step.max(1))
        .map(move |first| (first, step.min(rows - first)))
}
