//! `dense/gemm_grouped` and its `_double`, `_register`, `_subgroup` and `_coop` variants: products with one left operand in
//! one launch.

use super::gemm::{B_FORMAT, B_LAYOUT, Layout, fastest, knobs};
use crate::gpu::{Gpu, GpuError, HostCall, Kernel, Recording, Slice, Workload, f32s, f32s_mut, params};
use crate::ops::tile::{TILE, product_variants};
use crate::ops::{Precision, Variant};
use crate::reference::dense::gemm::Stored;
use crate::reference::dense::gemm_grouped as twin;
use crate::tensor::{DType, Tensor};

params! {
    /// Sizes in elements.
    struct Params {
        /// Rows of the products.
        rows: u32,
        /// Length of the sums.
        inner: u32,
        /// First row of a and of the products.
        first: u32,
        /// Columns of the first product.
        cols0: u32,
        /// Of the second.
        cols1: u32,
        /// Of the third; 0 without one.
        cols2: u32,
        /// Padding.
        pad0: u32,
        /// Padding.
        pad1: u32,
    }
}

/// Products of one launch at most.
pub const GROUPED: usize = 3;

/// The variant for GPUs.
pub static TILED: Kernel = Kernel {
    stem: "dense/gemm_grouped",
    source: include_str!("../../../shaders/dense/gemm_grouped.wgsl"),
    knobs: &[B_LAYOUT, B_FORMAT, TILE],
    params: Params::FIELDS,
    reads: 1 + GROUPED,
    writes: GROUPED,
    host,
};

product_variants!(
    [B_LAYOUT, B_FORMAT],
    "dense/gemm_grouped_double",
    "dense/gemm_grouped_register",
    "dense/gemm_grouped_subgroup",
    "dense/gemm_grouped_coop"
);

/// `outs[i] = a * op(b[i])`.
pub struct GemmGrouped<'a> {
    /// `[rows, inner]` f32.
    pub a: &'a Tensor,
    /// One to [`GROUPED`], each `[inner, cols]` or `[cols, inner]`, of one element type.
    pub b: &'a [&'a Tensor],
    /// Layout of all b.
    pub layout: Layout,
    /// `[rows, cols]` f32, for each b.
    pub outs: &'a [&'a Tensor],
    /// How exact they have to be.
    pub precision: Precision,
}

impl GemmGrouped<'_> {
    /// Columns of each product, 0 for those that there are not.
    fn cols(&self) -> [usize; GROUPED] {
        std::array::from_fn(|i| self.outs.get(i).map_or(0, |out| out.cols()))
    }

    fn dtype(&self) -> DType {
        self.b[0].dtype()
    }

    fn check(&self) {
        let (count, inner) = (self.b.len(), self.a.cols());
        assert!(
            (1..=GROUPED).contains(&count) && self.outs.len() == count,
            "gemm_grouped: {count} operands and {} products",
            self.outs.len()
        );
        for (b, out) in self.b.iter().zip(self.outs) {
            let wanted = match self.layout {
                Layout::NN => [inner, out.cols()],
                Layout::NT => [out.cols(), inner],
            };
            assert!(
                b.shape() == wanted && b.dtype() == self.dtype() && out.rows() == self.a.rows(),
                "gemm_grouped: a is {:?}, b {:?} {:?}, out {:?}",
                self.a.shape(),
                b.shape(),
                b.dtype(),
                out.shape()
            );
        }
        let floats = |tensor: &&Tensor| tensor.dtype() == DType::F32;
        assert!(
            floats(&self.a) && self.outs.iter().all(floats),
            "gemm_grouped: a and the products are f32"
        );
    }
}

/// Records the products, cut into row blocks short enough for a watchdog, on the tile that is fastest for one of their size.
/// Panics on shapes that do not fit.
pub fn gemm_grouped(recording: &mut Recording, gpu: &Gpu, call: &GemmGrouped<'_>) -> Result<(), GpuError> {
    let sizes = [call.a.rows(), call.cols().iter().sum(), call.a.cols()];
    let variant = fastest(gpu, call.precision, sizes, (call.layout, call.dtype()));
    gemm_grouped_with(recording, gpu, variant.of_kind(KINDS), call)
}

/// Records the products on a given variant (tests and benches).
pub fn gemm_grouped_with(
    recording: &mut Recording,
    gpu: &Gpu,
    variant: impl Into<Variant>,
    call: &GemmGrouped<'_>,
) -> Result<(), GpuError> {
    call.check();
    let variant = variant.into();
    let ([rows, inner], cols, tile) = (call.a.shape(), call.cols(), variant.size());
    let total: usize = cols.iter().sum();
    // What is written needs memory of its own, if only as a binding.
    let absent = (call.outs.len()..GROUPED).map(|_| Tensor::empty(gpu, "no product", 1, 1));
    let absent = absent.collect::<Result<Vec<_>, _>>()?;
    let bindings: Vec<Slice> = [call.a]
        .into_iter()
        .chain((0..GROUPED).map(|i| call.b[i.min(call.b.len() - 1)]))
        .chain(call.outs.iter().copied().chain(&absent))
        .map(Tensor::slice)
        .collect();
    let block = (variant.dispatch / (2 * total * inner).max(1))
        .next_multiple_of(tile[0])
        .max(tile[0]);
    for first in (0..rows).step_by(block) {
        let height = block.min(rows - first);
        let params = Params {
            rows: height as u32,
            inner: inner as u32,
            first: first as u32,
            cols0: cols[0] as u32,
            cols1: cols[1] as u32,
            cols2: cols[2] as u32,
            ..Default::default()
        };
        let knobs = variant.knobs(&knobs(call.layout, call.dtype()));
        let columns: usize = cols.iter().map(|cols| cols.div_ceil(tile[1])).sum();
        let groups = [columns as u32, height.div_ceil(tile[0]) as u32, 1];
        let flops = 2.0 * (height * total) as f64 * inner as f64;
        recording.dispatch(variant.kernel, &knobs, &params, &bindings, Workload { groups, flops });
    }
    Ok(())
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let (transposed, format) = (call.knobs[0] == 1, call.knobs[1]);
    let ([a, b0, b1, b2], outs) = call.split::<4, GROUPED>();
    let [rows, inner, first] = [p.rows, p.inner, p.first].map(|n| n as usize);
    let a = &f32s(a)[first * inner..(first + rows) * inner];
    let parts = [(b0, p.cols0), (b1, p.cols1), (b2, p.cols2)];
    for ((words, cols), out) in parts.into_iter().zip(outs).filter(|((_, cols), _)| *cols > 0) {
        let cols = cols as usize;
        let b = Stored {
            words,
            format,
            start: 0,
            stride: if transposed { inner } else { cols },
            transposed,
        };
        let out = &mut f32s_mut(out)[first * cols..(first + rows) * cols];
        twin::gemm_part_fast([rows, cols, inner], a, b, out);
    }
}
