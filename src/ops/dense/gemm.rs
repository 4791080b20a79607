//! `dense/gemm` and `dense/gemm_register`: the general matrix product.

use crate::gpu::{Gpu, HostCall, Kernel, Knob, Recording, Slice, Work, f32s, f32s_mut, params};
use crate::ops::DISPATCH_FLOPS;
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

const KNOBS: &[Knob] = &[
    Knob {
        name: "B_LAYOUT",
        values: &[0, 1],
    },
    Knob {
        name: "B_FORMAT",
        values: &[0, 1, 2],
    },
];

/// The variant for GPUs.
pub static TILED: Kernel = Kernel {
    stem: "dense/gemm",
    source: include_str!("../../../shaders/dense/gemm.wgsl"),
    knobs: KNOBS,
    params: Params::FIELDS,
    reads: 2,
    writes: 1,
    host,
};

/// The variant for drivers that run on the CPU.
pub static REGISTER: Kernel = Kernel {
    stem: "dense/gemm_register",
    source: include_str!("../../../shaders/dense/gemm.wgsl"),
    knobs: KNOBS,
    params: Params::FIELDS,
    reads: 2,
    writes: 1,
    host,
};

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
        }
    }

    /// Adds to the old contents instead of replacing them.
    pub fn add(self) -> Self {
        Gemm { beta: 1.0, ..self }
    }
}

/// Records a product, cut into row blocks short enough for a watchdog. Panics on shapes that do not fit.
pub fn gemm(recording: &mut Recording, gpu: &Gpu, call: &Gemm<'_>) {
    gemm_with(recording, if gpu.is_software() { &REGISTER } else { &TILED }, call);
}

/// Records a product on a given variant (tests and benches).
pub fn gemm_with(recording: &mut Recording, kernel: &'static Kernel, call: &Gemm<'_>) {
    let tile = if kernel.stem == REGISTER.stem {
        [16, 64]
    } else {
        [64, 64]
    };
    record(recording, kernel, tile, call);
}

fn record(recording: &mut Recording, kernel: &'static Kernel, tile: [usize; 2], call: &Gemm<'_>) {
    let b_cols = call.b.cols().checked_sub(call.b_col);
    let b_cols = b_cols.unwrap_or_else(|| panic!("gemm: column {} of b, which has {}", call.b_col, call.b.cols()));
    let (inner, cols) = match call.layout {
        Layout::NN => (call.b.rows(), b_cols),
        Layout::NT => (b_cols, call.b.rows()),
    };
    let rows = call.a.rows();
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
    let block = (DISPATCH_FLOPS / (2 * cols * inner).max(1))
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
        let knobs = [u32::from(call.layout == Layout::NT), call.b.dtype().code()];
        let bindings: [Slice; 3] = [call.a.slice(), call.b.slice(), call.out.slice()];
        let groups = [cols.div_ceil(tile[1]) as u32, height.div_ceil(tile[0]) as u32, 1];
        let flops = 2.0 * (height * cols) as f64 * inner as f64;
        recording.dispatch(kernel, &knobs, &params, &bindings, Work { groups, flops });
    }
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let (transposed, format) = (call.knobs[0] == 1, call.knobs[1]);
    let ([a, b], [out]) = call.split::<2, 1>();
    let (inner, cols, stride) = (p.inner as usize, p.cols as usize, p.b_stride as usize);
    let (b_rows, b_cols) = if transposed { (cols, inner) } else { (inner, cols) };
    let decoded;
    let (b, b_start, stride) = if format == 0 {
        (f32s(b), p.b_start as usize, stride)
    } else {
        decoded = twin::decode_rows(format, b, p.b_start as usize, b_rows, b_cols, stride);
        (&decoded[..], 0, b_cols)
    };
    let b = if transposed {
        View::new(b, b_start, 1, stride)
    } else {
        View::new(b, b_start, stride, 1)
    };
    let a = View::new(f32s(a), p.a_start as usize, p.a_stride as usize, 1);
    let shape = [p.rows as usize, cols, inner];
    let target = twin::Target {
        start: p.out_start as usize,
        stride: p.out_stride as usize,
        alpha: p.alpha,
        beta: p.beta,
    };
    twin::gemm_fast(shape, a, b, target, f32s_mut(out));
}
