//! `dense/gram` and its `_double`, `_register`, `_subgroup` and `_coop` variants: two-level Gram accumulation.

use std::ops::Range;

use super::sum_parts;
use crate::gpu::{
    Contest, Gpu, GpuError, HostCall, Kernel, Question, Recording, SCRATCH, Slice, Workload, f32s, f32s_mut, params,
};
use crate::ops::contest::{Products, contest_size, uniform};
use crate::ops::tile::{TILE, product_variants};
use crate::ops::{Precision, TILES, Tile, Variant};
use crate::reference::dense::{gemm::View, gram as twin};
use crate::tensor::Tensor;

params! {
    /// Sizes, starts and strides in elements.
    struct Params {
        /// Tokens of this chunk.
        tokens: u32,
        /// Row of the total where this dispatch ends (columns of a used).
        rows: u32,
        /// Columns of the total (columns of b used).
        cols: u32,
        /// First element of a.
        a_start: u32,
        /// Row stride of a.
        a_stride: u32,
        /// First element of b.
        b_start: u32,
        /// Row stride of b.
        b_stride: u32,
        /// 1: leave what is below the diagonal as it is.
        upper: u32,
        /// First row of the total that this dispatch computes.
        first_row: u32,
        /// Tokens of a part.
        part: u32,
        /// 1: each part replaces a matrix of its own; 0: the only part is added to the total.
        apart: u32,
        /// Elements from one part's matrix to the next.
        part_stride: u32,
    }
}

/// The variant for GPUs.
pub static TILED: Kernel = Kernel {
    stem: "dense/gram",
    source: include_str!("../../../shaders/dense/gram.wgsl"),
    knobs: &[TILE],
    params: Params::FIELDS,
    reads: 2,
    writes: 1,
    host,
};

product_variants!(
    [],
    "dense/gram_double",
    "dense/gram_register",
    "dense/gram_subgroup",
    "dense/gram_coop"
);

/// One block of a Gram: `total[rows, cols] += a[:, a_col ..]ᵀ b`, tokens being the rows of a and b.
pub struct GramPart<'a> {
    /// `[tokens, >= a_col + rows]` f32.
    pub a: &'a Tensor,
    /// First column of a.
    pub a_col: usize,
    /// `[tokens, cols]` f32.
    pub b: &'a Tensor,
    /// `[rows, cols]` f32.
    pub total: &'a Tensor,
    /// Compute the upper triangle only (square Grams; finish with `mirror`).
    pub upper: bool,
}

/// Records the accumulation of all tokens in chunks of at most [`CHUNK`].
pub fn gram_chunk(recording: &mut Recording, gpu: &Gpu, part: &GramPart<'_>) {
    gram_with(recording, gpu, fastest(gpu, part), part);
}

/// The variant that is fastest for a Gram, as far as that is known.
fn fastest(gpu: &Gpu, part: &GramPart<'_>) -> Variant {
    let sizes = [part.total.rows(), part.total.cols(), part.a.rows().min(CHUNK)];
    // What is factored later is summed in full.
    let mut all = Variant::all(gpu, KINDS, Precision::Full);
    let split = in_parts(gpu, &all, sizes, part.upper);
    // With more candidates it is another question.
    let knobs = [part.upper, !split.is_empty()].map(u32::from);
    all.extend(split);
    let question = Question::new(TILED.stem, &knobs, &sizes);
    Variant::fastest(gpu, &all, &question, |variants| {
        gram_contest(gpu, sizes, part.upper, variants)
    })
}

/// Numbers of parts to choose from.
const PARTS: [u8; 3] = [4, 8, 16];
/// Tokens of a part at least.
const PART_TOKENS: usize = 128;
/// Tiles from which on a GPU has enough to do without parts.
const MANY_TILES: usize = 256;

/// Variants of `all` that take the tokens in parts; none where tiles are many, or tokens few. Alike for all sizes that
/// tuning takes for one.
fn in_parts(gpu: &Gpu, all: &[Variant], sizes: [usize; 3], upper: bool) -> Vec<Variant> {
    /// Of [`TILES`], the default and the largest.
    const BASES: [Tile; 2] = [TILES[0], TILES[3]];
    let [rows, cols, tokens] = sizes.map(contest_size);
    let [tall, wide] = [rows, cols].map(|n| n.div_ceil(TILES[0].rows.into()));
    let tiles = if upper { wide * (wide + 1) / 2 } else { tall * wide };
    if gpu.scratch_bytes() == 0 || tiles >= MANY_TILES {
        return Vec::new();
    }
    let bases = all.iter().filter(|v| v.is_tiled() && BASES.contains(&v.tile()));
    let fitting = PARTS
        .into_iter()
        .filter(|parts| tokens / usize::from(*parts) >= PART_TOKENS);
    fitting
        .flat_map(|parts| bases.clone().map(move |base| base.in_parts(parts)))
        .collect()
}

/// The contest between `variants` on a whole Gram, or its upper triangle, of about `[rows, cols, tokens]`.
pub fn gram_contest(
    gpu: &Gpu,
    sizes: [usize; 3],
    upper: bool,
    variants: Vec<Variant>,
) -> Result<impl Contest, GpuError> {
    let [rows, cols, tokens] = sizes.map(contest_size);
    let (a_values, b_values) = (uniform(tokens * rows, 1), uniform(tokens * cols, 2));
    let a = Tensor::upload(gpu, "left inputs", tokens, rows, &a_values)?;
    let b = Tensor::upload(gpu, "right inputs", tokens, cols, &b_values)?;
    let total = Tensor::empty(gpu, "Gram", rows, cols)?;
    let out = total.clone();
    Ok(Products {
        gpu,
        variants,
        knobs: Vec::new(),
        out,
        inner: tokens,
        record: Box::new(move |recording, variant| {
            recording.clear(&total.slice());
            let part = GramPart {
                a: &a,
                a_col: 0,
                b: &b,
                total: &total,
                upper,
            };
            gram_with(recording, gpu, variant, &part);
        }),
        truth: Box::new(move |row, col| {
            if upper && col < row {
                return 0.0;
            }
            let term = |t: usize| f64::from(a_values[t * rows + row]) * f64::from(b_values[t * cols + col]);
            (0..tokens).map(term).sum()
        }),
    })
}

/// Tokens summed from zero before they are added to the total.
pub const CHUNK: usize = 2048;

/// Records the accumulation on a given variant (tests and benches), cut into row blocks short enough for a watchdog. A
/// variant in parts takes as many of them as have tokens and memory enough; without memory to spare none.
pub fn gram_with(recording: &mut Recording, gpu: &Gpu, variant: impl Into<Variant>, part: &GramPart<'_>) {
    let variant = variant.into();
    let (rows, cols, tokens) = (part.total.rows(), part.total.cols(), part.a.rows());
    assert_eq!(part.b.shape(), [tokens, cols], "gram: shape of b");
    assert!(
        part.a_col + rows <= part.a.cols(),
        "gram: a has {} columns",
        part.a.cols()
    );
    for first in (0..tokens).step_by(CHUNK) {
        let chunk = first..tokens.min(first + CHUNK);
        let matrix = part.total.slice().len;
        let parts = usize::from(variant.parts)
            .min(chunk.len() / PART_TOKENS)
            .min((SCRATCH / matrix.max(1)) as usize);
        let each = chunk.len().div_ceil(parts.max(1));
        let bytes = chunk.len().div_ceil(each) as u64 * matrix;
        let scratch = if parts > 1 { recording.scratch(gpu, bytes) } else { None };
        match scratch {
            Some(scratch) => {
                record(recording, variant, part, (chunk, each), Some(&scratch));
                sum_parts(recording, &scratch, part.upper, part.total);
            }
            None => record(recording, variant, part, (chunk.clone(), chunk.len()), None),
        }
    }
}

/// One chunk of tokens in parts of `each`: into matrices of their own in `apart`, or the only one into the total.
fn record(
    recording: &mut Recording,
    variant: Variant,
    part: &GramPart<'_>,
    (chunk, each): (Range<usize>, usize),
    apart: Option<&Slice>,
) {
    let tile = variant.size();
    let ([rows, cols], count) = (part.total.shape(), chunk.len());
    let height = (variant.dispatch / (2 * cols * count)).next_multiple_of(tile[0]);
    for first in (0..rows).step_by(height) {
        let end = rows.min(first + height);
        let params = Params {
            tokens: count as u32,
            rows: end as u32,
            cols: cols as u32,
            a_start: (chunk.start * part.a.cols() + part.a_col) as u32,
            a_stride: part.a.cols() as u32,
            b_start: (chunk.start * cols) as u32,
            b_stride: cols as u32,
            upper: u32::from(part.upper),
            first_row: first as u32,
            part: each as u32,
            apart: u32::from(apart.is_some()),
            part_stride: (rows * cols) as u32,
        };
        let tiles = [cols.div_ceil(tile[1]), (end - first).div_ceil(tile[0])];
        let groups = [tiles[0], tiles[1], count.div_ceil(each)].map(|n| n as u32);
        let below = if part.upper {
            (first..end).map(|row| row.min(cols)).sum()
        } else {
            0
        };
        let flops = 2.0 * ((end - first) * cols - below) as f64 * count as f64;
        let out = apart.cloned().unwrap_or_else(|| part.total.slice());
        let bindings = [part.a.slice(), part.b.slice(), out];
        recording.dispatch(
            variant.kernel,
            &variant.knobs(&[]),
            &params,
            &bindings,
            Workload { groups, flops },
        );
    }
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let ([a, b], [total]) = call.split::<2, 1>();
    let (cols, rows) = (p.cols as usize, p.first_row as usize..p.rows as usize);
    let upper = p.upper == 1;
    for (part, first) in (0..p.tokens).step_by(p.part.max(1) as usize).enumerate() {
        let a = View::new(
            f32s(a),
            (p.a_start + first * p.a_stride) as usize,
            p.a_stride as usize,
            1,
        );
        let b = View::new(
            f32s(b),
            (p.b_start + first * p.b_stride) as usize,
            p.b_stride as usize,
            1,
        );
        let tokens = p.part.min(p.tokens - first) as usize;
        let total = &mut f32s_mut(total)[part * p.part_stride as usize..];
        if p.apart == 1 {
            for row in rows.clone() {
                let below = if upper { row.min(cols) } else { 0 };
                total[row * cols + below..(row + 1) * cols].fill(0.0);
            }
        }
        twin::gram_fast([tokens, cols], rows.clone(), a, b, upper, total);
    }
}
