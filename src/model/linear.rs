//! A weight on the device in the form its executor likes best, and the product with it.

use super::ModelError;
use crate::gpu::{Gpu, GpuError, Recording};
use crate::ops::Precision;
use crate::ops::dense::{self, GROUPED, Gemm, GemmGrouped, Layout};
use crate::tensor::{DType, Tensor};

/// A linear's weight on the device.
#[derive(Clone)]
pub struct Weight {
    tensor: Tensor,
    layout: Layout,
}

impl Weight {
    /// Uploads `[outputs, inputs]` stored elements. GPUs read them as stored; the host executor gets f32 once instead of
    /// decoding per product; drivers that run on the CPU also get them transposed, which suits the kernel without
    /// barriers, unless that is larger than a binding.
    pub fn upload(gpu: &Gpu, label: &str, shape: [usize; 2], dtype: DType, bytes: &[u8]) -> Result<Self, ModelError> {
        Self::of(gpu, upload_weight(gpu, label, shape, dtype, bytes)?)
    }

    /// The `[outputs, inputs]` elements, unless they are kept transposed.
    pub(super) fn as_stored(&self) -> Option<Tensor> {
        (self.layout == Layout::NT).then(|| self.tensor.clone())
    }

    /// From `[outputs, inputs]` elements on the device, as [`Weight::upload`] would keep them.
    pub(super) fn of(gpu: &Gpu, stored: Tensor) -> Result<Self, ModelError> {
        if gpu.is_host() || !gpu.is_software() || (stored.len() * 4) as u64 > gpu.limits().binding {
            return Ok(Weight {
                tensor: stored,
                layout: Layout::NT,
            });
        }
        let tensor = Tensor::empty(gpu, stored.label(), stored.cols(), stored.rows())?;
        let mut recording = Recording::new();
        dense::transpose(&mut recording, &stored, &tensor);
        gpu.submit(recording)?;
        Ok(Weight {
            tensor,
            layout: Layout::NN,
        })
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        if self.layout == Layout::NT {
            self.tensor.cols()
        } else {
            self.tensor.rows()
        }
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        if self.layout == Layout::NT {
            self.tensor.rows()
        } else {
            self.tensor.cols()
        }
    }
}

/// `[outputs, inputs]` stored elements on the device; on the host decoded, once, to f32.
pub fn upload_weight(
    gpu: &Gpu,
    label: &str,
    shape: [usize; 2],
    dtype: DType,
    bytes: &[u8],
) -> Result<Tensor, GpuError> {
    if gpu.is_host() {
        return Tensor::upload(gpu, label, shape[0], shape[1], &dtype.decode(bytes));
    }
    Tensor::upload_stored(gpu, label, shape, dtype, bytes)
}

/// `out = x Wᵀ` (or `out += x Wᵀ`): x `[tokens, inputs]`, out `[tokens, outputs]`. Weights larger than a binding are
/// walked in windows of outputs; transposed ones never are larger.
pub fn linear(recording: &mut Recording, gpu: &Gpu, x: &Tensor, weight: &Weight, out: &Tensor, add: bool) {
    let rows = weight.tensor.rows();
    let step = weight.tensor.window_rows(gpu, rows);
    for first in (0..rows).step_by(step) {
        let window = weight.tensor.row_window(first, step.min(rows - first));
        let call = Gemm {
            out_col: first,
            ..Gemm::new(x, &window, weight.layout, out).split()
        };
        dense::gemm(recording, gpu, &if add { call.add() } else { call });
    }
}

/// `dx = g W` (or `dx += g W`): the gradient `[tokens, inputs]` of a linear's input from the gradient `[tokens, outputs]` of
/// its output.
pub fn linear_backward(recording: &mut Recording, gpu: &Gpu, g: &Tensor, weight: &Weight, dx: &Tensor, add: bool) {
    let rows = weight.tensor.rows();
    let step = weight.tensor.window_rows(gpu, rows);
    for first in (0..rows).step_by(step) {
        let window = weight.tensor.row_window(first, step.min(rows - first));
        // Windows of outputs add up; windows of inputs, of a transposed weight, lie side by side.
        let call = match weight.layout {
            Layout::NT => Gemm {
                a_col: first,
                ..Gemm::new(g, &window, Layout::NN, dx).split()
            },
            Layout::NN => Gemm {
                out_col: first,
                ..Gemm::new(g, &window, Layout::NT, dx).split()
            },
        };
        let sum = add || (first > 0 && weight.layout == Layout::NT);
        dense::gemm(recording, gpu, &if sum { call.add() } else { call });
    }
}

/// `x Wᵀ` in a new tensor.
pub(super) fn project(
    recording: &mut Recording,
    gpu: &Gpu,
    label: &str,
    x: &Tensor,
    weight: &Weight,
) -> Result<Tensor, GpuError> {
    let out = Tensor::empty(gpu, label, x.rows(), weight.outputs())?;
    linear(recording, gpu, x, weight, &out, false);
    Ok(out)
}

/// `x Wᵀ` for each weight in new tensors; in one launch where that is possible.
pub(super) fn project_group<const N: usize>(
    recording: &mut Recording,
    gpu: &Gpu,
    x: &Tensor,
    weights: [(&str, &Weight); N],
) -> Result<[Tensor; N], GpuError> {
    let empty = |i: usize| Tensor::empty(gpu, weights[i].0, x.rows(), weights[i].1.outputs());
    let outs = (0..N).map(empty).collect::<Result<Vec<_>, _>>()?;
    let outs: [Tensor; N] = outs.try_into().ok().expect("one for each");
    let stored = weights.map(|(_, weight)| &weight.tensor);
    let form = |weight: &Weight| (weight.layout, weight.tensor.dtype());
    let first = weights[0].1;
    let alike = weights.iter().all(|(_, weight)| {
        let rows = weight.tensor.rows();
        form(weight) == form(first) && weight.tensor.window_rows(gpu, rows) == rows
    });
    if alike && (2..=GROUPED).contains(&N) {
        let call = GemmGrouped {
            a: x,
            b: &stored,
            layout: first.layout,
            outs: &outs.each_ref(),
            precision: Precision::Split,
        };
        dense::gemm_grouped(recording, gpu, &call)?;
    } else {
        for ((_, weight), out) in weights.iter().zip(&outs) {
            linear(recording, gpu, x, weight, out, false);
        }
    }
    Ok(outs)
}

/// `g W` in a new tensor.
pub(super) fn pull_back(recording: &mut Recording, gpu: &Gpu, g: &Tensor, weight: &Weight) -> Result<Tensor, GpuError> {
    let dx = Tensor::empty(gpu, "input gradient", g.rows(), weight.inputs())?;
    linear_backward(recording, gpu, g, weight, &dx, false);
    Ok(dx)
}
