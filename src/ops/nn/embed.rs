//! `nn/embed`: rows of an embedding table by token id, a window of the table at a time.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Knob, Recording, Slice, Workload, f32s_mut, params};
use crate::reference::dense::gemm::decode;
use crate::reference::nn::embed as twin;
use crate::tensor::{DType, Tensor};

params! {
    /// Sizes in rows and elements.
    struct Params {
        /// Number of ids and of output rows.
        tokens: u32,
        /// Columns of the table.
        width: u32,
        /// Token id of the window's first row.
        first_row: u32,
        /// Rows of the window.
        table_rows: u32,
    }
}

/// The kernel's row.
pub static EMBED: Kernel = Kernel {
    stem: "nn/embed",
    source: include_str!("../../../shaders/nn/embed.wgsl"),
    knobs: &[Knob {
        name: "B_FORMAT",
        values: &[0, 1, 2],
    }],
    params: Params::FIELDS,
    reads: 2,
    writes: 1,
    host,
};

/// Records `out[t, :] = table[ids[t] - first_row, :]` for the ids inside the window; other rows stay as they are.
///
/// `ids` holds one u32 per row of `out` `[tokens, width]` f32; `table` `[window, width]`, any element type, starts at
/// token id `first_row`. Panics on shapes that do not fit.
pub fn embed(recording: &mut Recording, ids: &Slice, table: &Tensor, first_row: usize, out: &Tensor) {
    let [tokens, width] = out.shape();
    assert!(
        ids.len >= tokens as u64 * 4,
        "embed: {} bytes of ids for {tokens}",
        ids.len
    );
    assert_eq!(table.cols(), width, "embed: columns of the table");
    assert_eq!(out.dtype(), DType::F32, "embed: out is f32");
    let params = Params {
        tokens: tokens as u32,
        width: width as u32,
        first_row: first_row as u32,
        table_rows: table.rows() as u32,
    };
    let bindings = [ids.clone(), table.slice(), out.slice()];
    let work = Workload::rows(tokens, out.len() as f64);
    recording.dispatch(&EMBED, &[table.dtype().code()], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let format = call.knobs[0];
    let ([ids, table], [out]) = call.split::<2, 1>();
    let (width, first) = (p.width as usize, p.first_row as usize);
    let window = first..first + p.table_rows as usize;
    let rows = f32s_mut(out).par_chunks_mut(width).take(p.tokens as usize);
    rows.zip(ids).for_each(|(row, id)| {
        let load = |i| decode(format, table, i);
        twin::embed(std::slice::from_ref(id), window.clone(), width, load, row);
    });
}
