//! `factor/panel_read`: rows of a symmetric matrix of which one triangle is stored.

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::factor::panel_read as twin;
use crate::tensor::{PanelMatrix, Tensor};

params! {
    /// Sizes and places.
    struct Params {
        /// Rows gathered.
        count: u32,
        /// Columns of the matrix.
        cols: u32,
        /// First of the rows.
        row: u32,
        /// First row of the panel.
        first: u32,
        /// Rows of the panel.
        height: u32,
        /// First column that is not zero.
        first_col: u32,
        /// Padding.
        pad0: u32,
        /// Padding.
        pad1: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "factor/panel_read",
    source: include_str!("../../../shaders/factor/panel_read.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 1,
    writes: 1,
    host,
};

/// Invocations per workgroup (`THREADS` in the shader).
const THREADS: usize = 256;

/// Records rows `row ..` of a symmetric matrix whose upper triangle is stored into `rows` `[count, n]`; the columns before
/// `from` become zero.
pub fn panel_read(recording: &mut Recording, matrix: &PanelMatrix, row: usize, from: usize, rows: &Tensor) {
    assert_eq!(rows.cols(), matrix.n(), "panel_read: columns");
    for (first, panel) in matrix.panels() {
        let params = Params {
            count: rows.rows() as u32,
            cols: rows.cols() as u32,
            row: row as u32,
            first: first as u32,
            height: panel.rows() as u32,
            first_col: from as u32,
            ..Default::default()
        };
        let bindings = [panel.slice(), rows.slice()];
        recording.dispatch(&KERNEL, &[], &params, &bindings, Workload::flat(rows.len(), THREADS));
    }
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let cols = p.cols as usize;
    let ([x], [rows]) = call.split::<1, 1>();
    let x = &f32s(x)[..p.height as usize * cols];
    let rows = &mut f32s_mut(rows)[..p.count as usize * cols];
    twin::panel_read_fast(cols, p.row as usize, p.first_col as usize, p.first as usize, x, rows);
}
