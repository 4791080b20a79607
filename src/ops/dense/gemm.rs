//! `dense/gemm` and its `_double`, `_register`, `_subgroup` and `_coop` variants: the general matrix product.

use crate::gpu::{
    Contest, Gpu, GpuError, HostCall, Kernel, Knob, Question, Recording, Slice, Workload, f32s, f32s_mut, params,
};
use crate::ops::contest::{Products, contest_size, uniform};
use crate::ops::tile::{TILE, product_variants};
use crate::ops::{Precision, Variant};
use crate::reference::dense::gemm::{self as twin, View};
use crate::tensor::{DType, Tensor};

params! {
    /// Sizes, starts and strides in elements.
    struct Params {
        /// Rows of the product.
        rows: u32,
        /// Columns of the product.
        cols: u32,
        /// Length of the sums.
        inner: u32,
        /// First element of a.
        a_start: u32,
        /// Row stride of a.
        a_stride: u32,
        /// First element of b.
        b_start: u32,
        /// Row stride of b.
        b_stride: u32,
        /// First element of the product.
        out_start: u32,
        /// Row stride of the product.
        out_stride: u32,
        /// Factor of the product.
        alpha: f32,
        /// Factor of the old contents; 0 does not read them.
        beta: f32,
        /// Padding.
        pad0: u32,
    }
}

pub(super) const B_LAYOUT: Knob = Knob {
    name: "B_LAYOUT",
    values: &[0, 1],
};
pub(super) const B_FORMAT: Knob = Knob {
    name: "B_FORMAT",
    values: &[0, 1, 2],
};

/// The variant for GPUs.
pub static TILED: Kernel = Kernel {
    stem: "dense/gemm",
    source: include_str!("../../../shaders/dense/gemm.wgsl"),
    knobs: &[B_LAYOUT, B_FORMAT, TILE],
    params: Params::FIELDS,
    reads: 2,
    writes: 1,
    host,
};

product_variants!(
    [B_LAYOUT, B_FORMAT],
    "dense/gemm_double",
    "dense/gemm_register",
    "dense/gemm_subgroup",
    "dense/gemm_coop"
);

/// How b lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// b is `[inner, cols]`.
    NN,
    /// b is `[cols, inner]`, as weights are stored.
    NT,
}

/// `out[.., out_col ..] = alpha * a * op(b[.., b_col ..]) + beta * out`.
pub struct Gemm<'a> {
    /// `[rows, >= inner]` f32; columns from `a_col` are used.
    pub a: &'a Tensor,
    /// First column of a.
    pub a_col: usize,
    /// `[inner, cols]` or `[cols, inner]`, any element type.
    pub b: &'a Tensor,
    /// First column of b that is used: of the product for [`Layout::NN`], of the sums for [`Layout::NT`].
    pub b_col: usize,
    /// Layout of b.
    pub layout: Layout,
    /// `[rows, >= cols]` f32.
    pub out: &'a Tensor,
    /// First column of out that is written.
    pub out_col: usize,
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of the old contents; 0 does not read them.
    pub beta: f32,
    /// How exact it has to be; in full unless [`Gemm::split`] says that less will do.
    pub precision: Precision,
}

impl<'a> Gemm<'a> {
    /// `out = a * op(b)` with all of a and out.
    pub fn new(a: &'a Tensor, b: &'a Tensor, layout: Layout, out: &'a Tensor) -> Self {
        Gemm {
            a,
            a_col: 0,
            b,
            b_col: 0,
            layout,
            out,
            out_col: 0,
            alpha: 1.0,
            beta: 0.0,
            precision: Precision::Full,
        }
    }

    /// `[rows, cols, inner]` of the product.
    fn sizes(&self) -> [usize; 3] {
        let b_cols = self.b.cols().checked_sub(self.b_col);
        let b_cols = b_cols.unwrap_or_else(|| panic!("gemm: column {} of b, which has {}", self.b_col, self.b.cols()));
        match self.layout {
            Layout::NN => [self.a.rows(), b_cols, self.b.rows()],
            Layout::NT => [self.a.rows(), self.b.rows(), b_cols],
        }
    }

    /// Adds to the old contents instead of replacing them.
    pub fn add(self) -> Self {
        Gemm { beta: 1.0, ..self }
    }

    /// Allows halves on cooperative matrices, with the error of [`Precision::Split`].
    pub fn split(self) -> Self {
        Gemm {
            precision: Precision::Split,
            ..self
        }
    }
}

/// Records a product, cut into row blocks short enough for a watchdog, on the tile that is fastest for its size. Panics on
/// shapes that do not fit.
pub fn gemm(recording: &mut Recording, gpu: &Gpu, call: &Gemm<'_>) {
    let (sizes, b) = (call.sizes(), (call.layout, call.b.dtype()));
    gemm_with(recording, fastest(gpu, call.precision, sizes, b), call);
}

/// The variant that is fastest for a product of `[rows, cols, inner]`, as far as that is known.
pub(crate) fn fastest(gpu: &Gpu, precision: Precision, sizes: [usize; 3], (layout, dtype): (Layout, DType)) -> Variant {
    let all = Variant::all(gpu, KINDS, precision);
    // With more candidates it is another question.
    let is_wider = all.iter().any(Variant::is_cooperative);
    let asked = if is_wider { KINDS.cooperative } else { KINDS.tiled };
    let question = Question::new(asked.stem, &knobs(layout, dtype), &sizes);
    Variant::fastest(gpu, &all, &question, |variants| {
        gemm_contest(gpu, sizes, (layout, dtype), variants)
    })
}

/// The contest between `variants` on a product of about `[rows, cols, inner]`.
pub fn gemm_contest(
    gpu: &Gpu,
    sizes: [usize; 3],
    (layout, dtype): (Layout, DType),
    variants: Vec<Variant>,
) -> Result<impl Contest, GpuError> {
    let [rows, cols, inner] = sizes.map(contest_size);
    let [b_rows, b_cols] = match layout {
        Layout::NN => [inner, cols],
        Layout::NT => [cols, inner],
    };
    let (a_values, b_bytes) = (uniform(rows * inner, 1), dtype.encode(&uniform(inner * cols, 2)));
    let a = Tensor::upload(gpu, "left operand", rows, inner, &a_values)?;
    let b = Tensor::upload_stored(gpu, "right operand", [b_rows, b_cols], dtype, &b_bytes)?;
    let out = Tensor::empty(gpu, "product", rows, cols)?;
    let b_values = dtype.decode(&b_bytes);
    let target = out.clone();
    Ok(Products {
        gpu,
        variants,
        knobs: knobs(layout, dtype).to_vec(),
        out,
        inner,
        record: Box::new(move |recording, variant| {
            gemm_with(recording, variant, &Gemm::new(&a, &b, layout, &target));
        }),
        truth: Box::new(move |row, col| {
            let b = |k: usize| match layout {
                Layout::NN => b_values[k * cols + col],
                Layout::NT => b_values[col * inner + k],
            };
            let terms = (0..inner).map(|k| f64::from(a_values[row * inner + k]) * f64::from(b(k)));
            terms.sum()
        }),
    })
}

pub(super) fn knobs(layout: Layout, dtype: DType) -> [u32; 2] {
    [u32::from(layout == Layout::NT), dtype.code()]
}

/// Records a product on a given variant (contests, tests and benches).
pub fn gemm_with(recording: &mut Recording, variant: impl Into<Variant>, call: &Gemm<'_>) {
    let variant = variant.into();
    let tile = variant.size();
    let [rows, cols, inner] = call.sizes();
    assert!(
        call.a_col + inner <= call.a.cols(),
        "gemm: a has {} columns, needs {}",
        call.a.cols(),
        call.a_col + inner
    );
    assert!(
        call.out.rows() == rows && call.out_col + cols <= call.out.cols(),
        "gemm: out is {:?}, needs [{rows}, {}]",
        call.out.shape(),
        call.out_col + cols
    );
    assert!(
        call.a.dtype() == DType::F32 && call.out.dtype() == DType::F32,
        "gemm: a and out are f32"
    );
    let block = (variant.dispatch / (2 * cols * inner).max(1))
        .next_multiple_of(tile[0])
        .max(tile[0]);
    for row in (0..rows).step_by(block) {
        let height = block.min(rows - row);
        let params = Params {
            rows: height as u32,
            cols: cols as u32,
            inner: inner as u32,
            a_start: (row * call.a.cols() + call.a_col) as u32,
            a_stride: call.a.cols() as u32,
            b_start: call.b_col as u32,
            b_stride: call.b.cols() as u32,
            out_start: (row * call.out.cols() + call.out_col) as u32,
            out_stride: call.out.cols() as u32,
            alpha: call.alpha,
            beta: call.beta,
            pad0: 0,
        };
        let knobs = variant.knobs(&knobs(call.layout, call.b.dtype()));
        let bindings: [Slice; 3] = [call.a.slice(), call.b.slice(), call.out.slice()];
        let groups = [cols.div_ceil(tile[1]) as u32, height.div_ceil(tile[0]) as u32, 1];
        let flops = 2.0 * (height * cols) as f64 * inner as f64;
        recording.dispatch(variant.kernel, &knobs, &params, &bindings, Workload { groups, flops });
    }
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let (transposed, format) = (call.knobs[0] == 1, call.knobs[1]);
    let ([a, b], [out]) = call.split::<2, 1>();
    let [rows, cols, inner] = [p.rows, p.cols, p.inner].map(|n| n as usize);
    let a = View::new(f32s(a), p.a_start as usize, p.a_stride as usize, 1);
    let b = twin::Stored {
        words: b,
        format,
        start: p.b_start as usize,
        stride: p.b_stride as usize,
        transposed,
    };
    let target = twin::Target {
        start: p.out_start as usize,
        stride: p.out_stride as usize,
        alpha: p.alpha,
        beta: p.beta,
    };
    b.view(inner, cols, |b| {
        twin::gemm_fast([rows, cols, inner], a, b, target, f32s_mut(out));
    });
}
