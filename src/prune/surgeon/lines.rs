//! Whole rows and columns: what removing a set of them costs, and what the others become.
//!
//! For rows R the factor of the inputs cancels: `dW = − Gi[:,R] (Gi[R,R])⁻¹ W[R,:]`, at the cost
//! `1/2 tr((Gi[R,R])⁻¹ W_R A W_Rᵀ)`; columns are rows of Wᵀ with the sides exchanged. Rows first and columns of the
//! result then is the joint optimum: the two projections work on different sides and commute.
//!
//! The published code goes through eigendecompositions of both factors to the same end. Where a matrix is not compacted
//! between shots, the lines removed earlier belong into the set again, or the update writes to them.

use super::costs::transposed;
use super::curvature::{Curvature, KroneckerFactor, invert, vector};
use crate::gpu::{Gpu, GpuError, Recording, Slice};
use crate::linalg;
use crate::ops::dense::{self, RowReduce};
use crate::ops::factor::{self, KronGather};
use crate::ops::nn;
use crate::prune::PruneError;
use crate::prune::inputs::ones;
use crate::prune::row_sums::sum;
use crate::tensor::{PanelMatrix, Tensor};

/// Removes rows of `w` `[outputs, inputs]` in place: they become zero, the others make up for them. What must fit
/// beside w: twice the rows, and two squares of their number.
pub fn remove_rows(gpu: &Gpu, outputs: &KroneckerFactor, w: &Tensor, rows: &[usize]) -> Result<(), PruneError> {
    if rows.is_empty() {
        return Ok(());
    }
    let block = InverseBlock::new(gpu, outputs, rows)?;
    let [count, width] = [rows.len(), w.cols()];
    let scratch = |label| Tensor::empty(gpu, label, count, width);
    let (lost, spread) = (scratch("rows removed")?, scratch("rows solved for")?);
    let mut recording = Recording::new();
    block.scaled_rows(&mut recording, gpu, w, &lost)?;
    linalg::multiply_left(&mut recording, gpu, &block.inverse, &lost, &spread)?;
    let negative = vector(gpu, "negative scale", block.unit.iter().map(|s| -s))?;
    dense::scale(&mut recording, &spread, &negative, &ones(gpu, width)?);
    let inverse = Tensor::empty(gpu, "rows of the inverse", count, outputs.n())?;
    for (first, panel) in outputs.inverse.panels() {
        nn::embed(&mut recording, &block.ids, panel, first, &inverse);
    }
    linalg::add_product(&mut recording, gpu, [&inverse, &spread], w);
    let mut kept = vec![1.0; w.rows()];
    rows.iter().for_each(|i| kept[*i] = 0.0);
    let kept = vector(gpu, "rows kept", kept.into_iter())?;
    dense::scale(&mut recording, w, &kept, &ones(gpu, width)?);
    gpu.submit(recording)?;
    Ok(())
}

/// Removes columns of `w` `[outputs, inputs]` in place, see [`remove_rows`]; it needs no gradients. With a damping of
/// 0.01 this is the least squares refit of OSSCAR (ICML 2024). Beside what rows need, a transpose of w must fit.
pub fn remove_columns(gpu: &Gpu, inputs: &KroneckerFactor, w: &Tensor, cols: &[usize]) -> Result<(), PruneError> {
    if cols.is_empty() {
        return Ok(());
    }
    let turned = transposed(gpu, w)?;
    remove_rows(gpu, inputs, &turned, cols)?;
    let mut recording = Recording::new();
    dense::transpose(&mut recording, &turned, w);
    gpu.submit(recording)?;
    Ok(())
}

/// What removing all these rows together costs.
pub fn joint_row_cost(gpu: &Gpu, curvature: &Curvature, w: &Tensor, rows: &[usize]) -> Result<f64, PruneError> {
    joint(gpu, w, &curvature.outputs, Some(&curvature.inputs), rows)
}

/// What removing all these columns together costs.
pub fn joint_column_cost(gpu: &Gpu, curvature: &Curvature, w: &Tensor, cols: &[usize]) -> Result<f64, PruneError> {
    let turned = transposed(gpu, w)?;
    joint(gpu, &turned, &curvature.inputs, Some(&curvature.outputs), cols)
}

/// Cost of removing rows of x together; without `along` its factor is the identity.
pub(super) fn joint(
    gpu: &Gpu,
    x: &Tensor,
    across: &KroneckerFactor,
    along: Option<&KroneckerFactor>,
    rows: &[usize],
) -> Result<f64, PruneError> {
    if rows.is_empty() {
        return Ok(0.0);
    }
    let block = InverseBlock::new(gpu, across, rows)?;
    let scratch = |label| Tensor::empty(gpu, label, rows.len(), x.cols());
    let (lost, solved, weighted) = (
        scratch("rows removed")?,
        scratch("rows solved for")?,
        scratch("weighted")?,
    );
    let sums = Tensor::empty(gpu, "row sums", 1, rows.len())?;
    let mut recording = Recording::new();
    block.scaled_rows(&mut recording, gpu, x, &lost)?;
    linalg::multiply_left(&mut recording, gpu, &block.inverse, &lost, &solved)?;
    let mean = match along {
        Some(side) => {
            linalg::multiply(&mut recording, gpu, 1.0, &lost, &side.factor, &weighted);
            side.mean
        }
        None => {
            recording.copy(&lost.slice(), &weighted.slice());
            1.0
        }
    };
    dense::row_reduce(&mut recording, RowReduce::Dot, &solved, &weighted, &sums);
    let id = recording.read(&sums.slice());
    Ok((0.5 * across.mean * mean * sum(&gpu.submit(recording)?, id)?).max(0.0))
}

/// The inverse of a principal block of a side's inverse, scaled to a unit diagonal.
struct InverseBlock {
    ids: Slice,
    /// 1 / root of the block's diagonal; 0 for dead channels, which thereby cost and spread nothing.
    unit: Vec<f64>,
    inverse: PanelMatrix,
}

impl InverseBlock {
    fn new(gpu: &Gpu, side: &KroneckerFactor, lines: &[usize]) -> Result<Self, PruneError> {
        let ids: Vec<u32> = lines.iter().map(|i| *i as u32).collect();
        let ids = gpu.upload("lines", bytemuck::cast_slice(&ids))?.slice();
        let unit: Vec<f64> = lines.iter().map(|i| side.unit(*i)).collect();
        let mut recording = Recording::new();
        let block = PanelMatrix::zeros(gpu, &mut recording, "block of the inverse", lines.len())?;
        // A Kronecker product whose left factor is the number one.
        let call = KronGather {
            places: &ids,
            scale: &vector(gpu, "unit scale", unit.iter().copied())?,
            g: &ones(gpu, 1)?,
            g_first: 0,
            a: &side.inverse,
        };
        factor::kron_gather(&mut recording, &call, &block);
        gpu.submit(recording)?;
        let inverse = invert(gpu, &block, (&side.place, &side.escalations))?;
        Ok(InverseBlock { ids, unit, inverse })
    }

    /// Records the block's rows of x, scaled as it is.
    fn scaled_rows(&self, recording: &mut Recording, gpu: &Gpu, x: &Tensor, out: &Tensor) -> Result<(), GpuError> {
        nn::embed(recording, &self.ids, x, 0, out);
        let unit = vector(gpu, "unit scale", self.unit.iter().copied())?;
        dense::scale(recording, out, &unit, &ones(gpu, x.cols())?);
        Ok(())
    }
}
