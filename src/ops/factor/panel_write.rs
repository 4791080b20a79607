//! `factor/panel_write`: rows into a symmetric matrix of which one triangle is stored.

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::factor::panel_write as twin;
use crate::tensor::{PanelMatrix, Tensor};

params! {
    /// Sizes and places.
    struct Params {
        /// Rows scattered.
        count: u32,
        /// Columns of the matrix.
        cols: u32,
        /// First of the rows.
        row: u32,
        /// First row of the panel.
        first: u32,
        /// Rows of the panel.
        height: u32,
        /// Padding.
        pad0: u32,
        /// Padding.
        pad1: u32,
        /// Padding.
        pad2: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "factor/panel_write",
    source: include_str!("../../../shaders/factor/panel_write.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 1,
    writes: 1,
    host,
};

/// Invocations per workgroup (`THREADS` in the shader).
const THREADS: usize = 256;

/// Records rows `row ..` of a symmetric matrix, `[count, n]`, into its stored upper triangle.
pub fn panel_write(recording: &mut Recording, rows: &Tensor, row: usize, matrix: &PanelMatrix) {
    assert_eq!(rows.cols(), matrix.n(), "panel_write: columns");
    for (first, panel) in matrix.panels() {
        let params = Params {
            count: rows.rows() as u32,
            cols: rows.cols() as u32,
            row: row as u32,
            first: first as u32,
            height: panel.rows() as u32,
            ..Default::default()
        };
        let bindings = [rows.slice(), panel.slice()];
        recording.dispatch(&KERNEL, &[], &params, &bindings, Workload::flat(rows.len(), THREADS));
    }
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let cols = p.cols as usize;
    let ([rows], [x]) = call.split::<1, 1>();
    let x = &mut f32s_mut(x)[..p.height as usize * cols];
    let rows = &f32s(rows)[..p.count as usize * cols];
    twin::panel_write_fast(cols, p.row as usize, p.first as usize, rows, x);
}
