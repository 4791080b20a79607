//! Exact top-k by radix select: `kth_histogram` and `kth_pick` per digit of the key, then `kth_apply`.
//!
//! The key of an element is (magnitude, index inside its segment reversed): 4 digits of 8 bits find the magnitude of the
//! k-th largest, as many as the index needs then cut the ties. Nothing is read back by the host.

use crate::gpu::{Gpu, GpuError, Recording};
use crate::reference::prox::kth_histogram::BINS;
use crate::tensor::Tensor;

use super::{Digit, Segments, kth_apply, kth_histogram, kth_pick};

/// Rows handled together when every row is a segment: bounds the scratch memory (1 KiB each).
const ROWS: usize = 8192;

/// Which elements compete with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of the matrix.
    Matrix,
    /// Each row by itself.
    Row,
    /// Each block of this many columns over all rows (the last one may be narrower).
    ColumnBlock(usize),
}

/// How many elements survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Elements kept per segment.
    pub count: usize,
}

/// Rows `first ..` of the matrix and how they are cut.
struct Window {
    first: usize,
    rows: usize,
    cut: Segments,
}

/// Records, for v `[m, n]`: each segment of `scope` keeps exactly `keep.count` elements, those of largest `|v|`, ties by
/// lower index, NaN counting as largest. Elements with `free` 0 do not take part; a segment with too few keeps all its
/// free ones. out = v where kept, else 0; support = 1 or 0. Allocates scratch; panics on shapes that differ.
#[expect(clippy::too_many_arguments, reason = "two inputs, two outputs and what to keep")]
pub fn keep_largest(
    recording: &mut Recording,
    gpu: &Gpu,
    v: &Tensor,
    free: &Tensor,
    scope: Scope,
    keep: Keep,
    out: &Tensor,
    support: &Tensor,
) -> Result<(), GpuError> {
    for tensor in [free, out, support] {
        assert_eq!(tensor.shape(), v.shape(), "keep_largest: shapes");
    }
    if v.is_empty() {
        return Ok(());
    }
    let parts = parts(gpu, v, scope);
    let segments = parts.iter().map(|part| part[0].cut.count).max().unwrap_or(0);
    let histogram = Tensor::zeros(gpu, recording, "kth histogram", segments, BINS)?;
    let state = Tensor::empty(gpu, "kth state", segments, 4)?;
    for part in &parts {
        let Segments { count, last, .. } = part[0].cut;
        for (i, digit) in digits(last).into_iter().enumerate() {
            for Window { first, rows, cut } in part {
                let (v, free) = (v.row_window(*first, *rows), free.row_window(*first, *rows));
                kth_histogram(recording, cut, digit, &v, &free, &state, &histogram);
            }
            let start = (i == 0).then_some(keep.count);
            kth_pick(recording, count, start, digit, &histogram, &state);
        }
        for Window { first, rows, cut } in part {
            let [v, free, out, support] = [v, free, out, support].map(|t| t.row_window(*first, *rows));
            kth_apply(recording, cut, &v, &free, &state, &out, &support);
        }
    }
    Ok(())
}

/// Parts that share no segment, each a list of windows that fit a binding.
fn parts(gpu: &Gpu, v: &Tensor, scope: Scope) -> Vec<Vec<Window>> {
    let [rows, cols] = v.shape();
    let fitting = (gpu.limits().binding / (4 * BINS as u64)).clamp(1, ROWS as u64) as usize;
    let wanted = if scope == Scope::Row { fitting } else { rows };
    let height = v.window_rows(gpu, wanted);
    let windows = (0..rows).step_by(height).map(|first| {
        let rows = height.min(rows - first);
        (first, rows)
    });
    let width = match scope {
        Scope::ColumnBlock(width) => width.clamp(1, cols),
        _ => cols,
    };
    let window = |(first, here)| {
        let cut = if scope == Scope::Row {
            Segments {
                cols,
                height: 1,
                width,
                count: here,
                base: 0,
                last: cols - 1,
            }
        } else {
            Segments {
                cols,
                height: here,
                width,
                count: cols.div_ceil(width),
                base: first * width,
                last: rows * width - 1,
            }
        };
        Window { first, rows: here, cut }
    };
    if scope == Scope::Row {
        windows.map(|w| vec![window(w)]).collect()
    } else {
        vec![windows.map(window).collect()]
    }
}

/// Digits of the key from the top; `last` is the largest index inside a segment.
fn digits(last: usize) -> Vec<Digit> {
    let index_digits = (usize::BITS - last.leading_zeros()).div_ceil(8);
    let digit = |by_index| move |i| Digit { by_index, shift: 8 * i };
    let magnitude = (0..4).rev().map(digit(false));
    magnitude.chain((0..index_digits).rev().map(digit(true))).collect()
}
