//! Inverse of a symmetric positive definite matrix, and the Cholesky factor of that inverse, by a blocked sweep.
//!
//! The sweep operator on a block k of A (Goodnight 1979) takes `A_kk → −A_kk⁻¹`, `A_kj → A_kk⁻¹ A_kj` and
//! `A_ij → A_ij − A_ik A_kk⁻¹ A_kj`; after all blocks A has become `−A⁻¹`. It works in place on one triangle, and all
//! its flops but those of the small block are in products. We keep −A, so that with `S = L⁻¹ A_k:` (`A_kk = L Lᵀ`) the
//! update is `+ Sᵀ S`, symmetric by construction, and what remains is `A⁻¹`.
//!
//! Swept from the last block to the first, the swept part is at each turn the inverse of the trailing submatrix: the
//! matrix the column loop of SparseGPT eliminates with, and its Cholesky rows are those of the upper factor U of
//! `A⁻¹ = Uᵀ U`.

use crate::gpu::{Gpu, GpuError, ReadId, Recording, Submission};
use crate::ops::dense::{self, Gemm, Layout};
use crate::ops::factor::{self, BLOCK, CholeskyBlock};
use crate::tensor::{PANEL_ROWS, PanelMatrix, Tensor};

/// Smallest pivot of a matrix with a unit diagonal: below it f32 has no digit left.
const FLOOR: f32 = 1e-6;

const _: () = assert!(PANEL_ROWS.is_multiple_of(BLOCK));

/// Failed pivots of any number of factorisations, counted on the device.
pub struct Pivots(Tensor);

impl Pivots {
    /// None failed yet; the fill is recorded.
    pub fn new(gpu: &Gpu, recording: &mut Recording) -> Result<Self, GpuError> {
        Ok(Pivots(Tensor::zeros(gpu, recording, "pivots", 1, 2)?))
    }

    /// Records a readback of the count so far.
    pub fn read(&self, recording: &mut Recording) -> ReadId {
        recording.read(&self.0.slice())
    }

    /// Row of the first failed pivot, if any failed.
    pub fn failed(done: &Submission, id: ReadId) -> Result<Option<usize>, GpuError> {
        let state = done.floats(id)?;
        Ok((state[0] != 0.0).then(|| state[1] as usize - 1))
    }
}

/// Records `out = (A + shift I)⁻¹`, complete, for a symmetric A with a unit diagonal. Where a pivot fails, `pivots`
/// counts it and out is worthless.
pub fn inverse(
    recording: &mut Recording,
    gpu: &Gpu,
    [a, out]: [&PanelMatrix; 2],
    shift: f32,
    pivots: &Pivots,
) -> Result<(), GpuError> {
    let sweep = Sweep::begin(recording, gpu, [a, out], shift)?;
    for block in &blocks(out) {
        sweep.block(recording, gpu, *block, pivots)?;
    }
    for &(row, count) in &blocks(out) {
        let rows = sweep.rows.row_window(0, count);
        factor::panel_read(recording, out, row, 0, &rows);
        let (first, panel) = panel_of(out, row);
        recording.copy(&rows.slice(), &panel.row_window(row - first, count).slice());
    }
    Ok(())
}

/// Records the upper triangular `out = U`, zero below the diagonal, with `(A + shift I)⁻¹ = Uᵀ U`.
pub fn inverse_factor(
    recording: &mut Recording,
    gpu: &Gpu,
    [a, out]: [&PanelMatrix; 2],
    shift: f32,
    pivots: &Pivots,
) -> Result<(), GpuError> {
    let swept = out.empty_like(gpu, "swept")?;
    let sweep = Sweep::begin(recording, gpu, [a, &swept], shift)?;
    for &(row, count) in blocks(&swept).iter().rev() {
        sweep.block(recording, gpu, (row, count), pivots)?;
        let rows = sweep.rows.row_window(0, count);
        factor::panel_read(recording, &swept, row, row, &rows);
        // P = M Mᵀ for the block of the inverse: its rows of U are M⁻¹ P.
        let [inverse, transposed] = sweep.factors(gpu, count)?;
        let block = CholeskyBlock {
            a: &rows,
            col: row,
            index: row,
            sign: 1.0,
            floor: 0.0,
        };
        factor::cholesky_block(recording, &block, &inverse, &transposed, &pivots.0);
        let (first, panel) = panel_of(out, row);
        let target = panel.row_window(row - first, count);
        dense::gemm(recording, gpu, &Gemm::new(&inverse, &rows, Layout::NN, &target));
    }
    Ok(())
}

/// First row and height of the blocks, none of which straddles a panel.
fn blocks(matrix: &PanelMatrix) -> Vec<(usize, usize)> {
    let in_panel = |(first, panel): (usize, &Tensor)| {
        let rows = panel.rows();
        (0..rows)
            .step_by(BLOCK)
            .map(move |row| (first + row, BLOCK.min(rows - row)))
    };
    matrix.panels().flat_map(in_panel).collect()
}

fn panel_of(matrix: &PanelMatrix, row: usize) -> (usize, &Tensor) {
    matrix
        .panels()
        .take_while(|(first, _)| *first <= row)
        .last()
        .expect("a matrix has a panel for each row")
}

struct Sweep<'a> {
    /// −A where not swept, +A⁻¹ of the swept part; upper triangle.
    matrix: &'a PanelMatrix,
    /// Scratch: as many rows as the largest block has.
    rows: Tensor,
    half: Tensor,
    /// Scratch for the largest blocks: L⁻¹ and its transpose.
    full: [Tensor; 2],
}

impl<'a> Sweep<'a> {
    fn begin(
        recording: &mut Recording,
        gpu: &Gpu,
        [a, matrix]: [&'a PanelMatrix; 2],
        shift: f32,
    ) -> Result<Self, GpuError> {
        let n = a.n();
        let diagonal = Tensor::upload(gpu, "negative diagonal", 1, n, &vec![-1.0 - shift; n])?;
        for ((first, from), (_, to)) in a.panels().zip(matrix.panels()) {
            dense::axpby(recording, -1.0, from, 0.0, to);
            dense::set_diagonal(recording, &diagonal, first, to);
        }
        let largest = blocks(matrix).iter().map(|(_, count)| *count).max().unwrap_or(0);
        let scratch = |label| Tensor::empty(gpu, label, largest, n);
        let square = |label| Tensor::empty(gpu, label, largest, largest);
        Ok(Sweep {
            matrix,
            rows: scratch("rows")?,
            half: scratch("half-solved rows")?,
            full: [square("inverse factor")?, square("transposed factor")?],
        })
    }

    /// Room for L⁻¹ and its transpose.
    fn factors(&self, gpu: &Gpu, count: usize) -> Result<[Tensor; 2], GpuError> {
        if count == self.rows.rows() {
            return Ok(self.full.clone());
        }
        let square = |label| Tensor::empty(gpu, label, count, count);
        Ok([square("inverse factor")?, square("transposed factor")?])
    }

    fn block(
        &self,
        recording: &mut Recording,
        gpu: &Gpu,
        (row, count): (usize, usize),
        pivots: &Pivots,
    ) -> Result<(), GpuError> {
        let [rows, half] = [&self.rows, &self.half].map(|t| t.row_window(0, count));
        let [inverse, transposed] = self.factors(gpu, count)?;
        factor::panel_read(recording, self.matrix, row, 0, &rows);
        let block = CholeskyBlock {
            a: &rows,
            col: row,
            index: row,
            sign: -1.0,
            floor: FLOOR,
        };
        factor::cholesky_block(recording, &block, &inverse, &transposed, &pivots.0);
        // rows = −A_k: : half = S, rows = −A_kk⁻¹ A_k: but for the block itself, +A_kk⁻¹.
        let product = Gemm::new(&inverse, &rows, Layout::NN, &half);
        dense::gemm(recording, gpu, &Gemm { alpha: -1.0, ..product });
        let product = Gemm::new(&transposed, &half, Layout::NN, &rows);
        dense::gemm(recording, gpu, &Gemm { alpha: -1.0, ..product });
        let product = Gemm::new(&transposed, &inverse, Layout::NN, &rows);
        dense::gemm(
            recording,
            gpu,
            &Gemm {
                out_col: row,
                ..product
            },
        );
        super::accumulate(recording, gpu, &half, &half, self.matrix, true);
        factor::panel_write(recording, &rows, row, self.matrix);
        Ok(())
    }
}
