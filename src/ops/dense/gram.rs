//! `dense/gram`, `dense/gram_register` and `dense/gram_coop`: two-level Gram accumulation.

use crate::gpu::{Contest, Gpu, GpuError, HostCall, Kernel, Recording, Work, f32s, f32s_mut, params};
use crate::ops::contest::{Products, contest_size, uniform};
use crate::ops::tile::{COOP, TILE};
use crate::ops::{Precision, Variant};
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
        /// Padding.
        pad0: u32,
        /// Padding.
        pad1: u32,
        /// Padding.
        pad2: u32,
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

/// The variant for drivers that run on the CPU.
pub static REGISTER: Kernel = Kernel {
    stem: "dense/gram_register",
    source: include_str!("../../../shaders/dense/gram.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 2,
    writes: 1,
    host,
};

/// The variant for cooperative matrices: each operand as two halves, see [`Precision::Split`].
pub static COOPERATIVE: Kernel = Kernel {
    stem: "dense/gram_coop",
    source: include_str!("../../../shaders/dense/gram.wgsl"),
    knobs: &[COOP],
    params: Params::FIELDS,
    reads: 2,
    writes: 1,
    host,
};

/// All of them, as [`Variant`] wants them.
const KERNELS: [&Kernel; 3] = [&TILED, &REGISTER, &COOPERATIVE];

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
    let sizes = [part.total.rows(), part.total.cols(), part.a.rows().min(CHUNK)];
    // What is factored later is summed in full.
    let variant = Variant::fastest(gpu, (KERNELS, Precision::Full), (&[], sizes), |variants| {
        contest(gpu, sizes, variants)
    });
    gram_with(recording, variant, part);
}

/// The contest between variants on a whole Gram of about `[rows, cols, tokens]`.
fn contest(gpu: &Gpu, sizes: [usize; 3], variants: Vec<Variant>) -> Result<impl Contest, GpuError> {
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
                upper: false,
            };
            gram_with(recording, variant, &part);
        }),
        truth: Box::new(move |row, col| {
            let term = |t: usize| f64::from(a_values[t * rows + row]) * f64::from(b_values[t * cols + col]);
            (0..tokens).map(term).sum()
        }),
    })
}

/// Tokens summed from zero before they are added to the total.
pub const CHUNK: usize = 2048;

/// Records the accumulation on a given variant (tests and benches), cut into row blocks short enough for a watchdog.
pub fn gram_with(recording: &mut Recording, variant: impl Into<Variant>, part: &GramPart<'_>) {
    let variant = variant.into();
    let tile = variant.size();
    let (rows, cols, tokens) = (part.total.rows(), part.total.cols(), part.a.rows());
    assert_eq!(part.b.shape(), [tokens, cols], "gram: shape of b");
    assert!(
        part.a_col + rows <= part.a.cols(),
        "gram: a has {} columns",
        part.a.cols()
    );
    for token in (0..tokens).step_by(CHUNK) {
        let count = CHUNK.min(tokens - token);
        let height = (variant.dispatch / (2 * cols * count)).next_multiple_of(tile[0]);
        for first in (0..rows).step_by(height) {
            let end = rows.min(first + height);
            let params = Params {
                tokens: count as u32,
                rows: end as u32,
                cols: cols as u32,
                a_start: (token * part.a.cols() + part.a_col) as u32,
                a_stride: part.a.cols() as u32,
                b_start: (token * cols) as u32,
                b_stride: cols as u32,
                upper: u32::from(part.upper),
                first_row: first as u32,
                ..Default::default()
            };
            let groups = [cols.div_ceil(tile[1]) as u32, (end - first).div_ceil(tile[0]) as u32, 1];
            let below = if part.upper {
                (first..end).map(|row| row.min(cols)).sum()
            } else {
                0
            };
            let flops = 2.0 * ((end - first) * cols - below) as f64 * count as f64;
            let bindings = [part.a.slice(), part.b.slice(), part.total.slice()];
            recording.dispatch(
                variant.kernel,
                &variant.knobs(&[]),
                &params,
                &bindings,
                Work { groups, flops },
            );
        }
    }
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let ([a, b], [total]) = call.split::<2, 1>();
    let a = View::new(f32s(a), p.a_start as usize, p.a_stride as usize, 1);
    let b = View::new(f32s(b), p.b_start as usize, p.b_stride as usize, 1);
    let rows = p.first_row as usize..p.rows as usize;
    twin::gram_fast(
        [p.tokens as usize, p.cols as usize],
        rows,
        a,
        b,
        p.upper == 1,
        f32s_mut(total),
    );
}
