//! `factor/cholesky_block`: inverse Cholesky factor of a diagonal block.

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::factor::cholesky_block as twin;
use crate::tensor::Tensor;

params! {
    /// Where the block lies and how it is read.
    struct Params {
        /// Rows and columns of the block.
        size: u32,
        /// First element of the block.
        start: u32,
        /// Row stride of the matrix it is part of.
        stride: u32,
        /// Row of its first element in the whole matrix, for the state.
        index: u32,
        /// Factor of the block.
        sign: f32,
        /// Smallest pivot that counts.
        floor: f32,
        /// Padding.
        pad0: u32,
        /// Padding.
        pad1: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "factor/cholesky_block",
    source: include_str!("../../../shaders/factor/cholesky_block.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 1,
    writes: 3,
    host,
};

/// Largest block (`BLOCK` in the shader).
pub const BLOCK: usize = 64;

/// One block to factorise.
pub struct CholeskyBlock<'a> {
    /// Rows of the matrix that hold the block, `[>= size, cols]`.
    pub a: &'a Tensor,
    /// First column of the block; its first row is that of `a`.
    pub col: usize,
    /// Row of the block in the whole matrix, for the state.
    pub index: usize,
    /// Factor of the block, 1 or -1.
    pub sign: f32,
    /// Smallest pivot that does not count as failed.
    pub floor: f32,
}

/// Records `inverse = L^-1`, `transposed = L^-T`, both `[size, size]`, for `sign * block = L Lᵀ`. state `[1, 2]` gains
/// the number of failed pivots and, the first time, 1 + the row of the first. Panics on a size above [`BLOCK`].
pub fn cholesky_block(
    recording: &mut Recording,
    call: &CholeskyBlock<'_>,
    inverse: &Tensor,
    transposed: &Tensor,
    state: &Tensor,
) {
    let size = inverse.rows();
    assert!(size <= BLOCK, "cholesky_block: {size} rows");
    assert_eq!(
        [inverse.cols(), transposed.rows(), transposed.cols()],
        [size; 3],
        "cholesky_block: results"
    );
    assert!(
        call.a.rows() >= size && call.col + size <= call.a.cols(),
        "cholesky_block: block"
    );
    let params = Params {
        size: size as u32,
        start: call.col as u32,
        stride: call.a.cols() as u32,
        index: call.index as u32,
        sign: call.sign,
        floor: call.floor,
        ..Default::default()
    };
    let bindings = [call.a, inverse, transposed, state].map(Tensor::slice);
    let work = Workload::rows(1, (size * size * size) as f64);
    recording.dispatch(&KERNEL, &[], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let (size, start, stride) = (p.size as usize, p.start as usize, p.stride as usize);
    let ([a], [inverse, transposed, state]) = call.split::<1, 3>();
    let rows = f32s(a)[start..].chunks(stride).take(size);
    let block: Vec<f32> = rows.flat_map(|row| row[..size].iter().map(|v| p.sign * v)).collect();
    let inverse = &mut f32s_mut(inverse)[..size * size];
    let failed = twin::cholesky_block(size, &block, p.floor, inverse);
    for (i, row) in inverse.chunks(size).enumerate() {
        for (j, value) in row.iter().enumerate() {
            f32s_mut(transposed)[j * size + i] = *value;
        }
    }
    let state = f32s_mut(state);
    if let Some(first) = failed.first.filter(|_| state[0] == 0.0) {
        state[1] = (p.index as usize + first + 1) as f32;
    }
    state[0] += failed.count as f32;
}
