//! `factor/kron_gather`: scattered rows and columns of a Kronecker product.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Slice, Workload, f32s, f32s_mut, params};
use crate::reference::factor::kron_gather as twin;
use crate::tensor::{PanelMatrix, Tensor};

params! {
    /// Sizes and places.
    struct Params {
        /// Places.
        count: u32,
        /// Rows of the result's panel.
        rows: u32,
        /// First of them.
        first: u32,
        /// Columns of the weight and of a.
        cols: u32,
        /// Columns of g.
        g_cols: u32,
        /// Row of the factor where g starts.
        g_first: u32,
        /// Row of the factor where the panel of a starts.
        start: u32,
        /// Its rows.
        a_rows: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "factor/kron_gather",
    source: include_str!("../../../shaders/factor/kron_gather.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 4,
    writes: 1,
    host,
};

/// Invocations per workgroup (`THREADS` in the shader).
const THREADS: usize = 256;

/// Which elements of a Kronecker product: those between the weights of `places`.
pub struct KronGather<'a> {
    /// Row times columns plus column of each weight, as u32.
    pub places: &'a Slice,
    /// `[1, k]`: factor of each.
    pub scale: &'a Tensor,
    /// `[h, m]`: the rows of the left factor that the places name.
    pub g: &'a Tensor,
    /// Number of the first of them.
    pub g_first: usize,
    /// The right factor, `[n, n]`, symmetric and complete.
    pub a: &'a PanelMatrix,
}

/// Records `out[i, j] = scale[i] scale[j] g[r_i, r_j] a[c_i, c_j]` for out `[k, k]`. Panics on sizes.
pub fn kron_gather(recording: &mut Recording, call: &KronGather<'_>, out: &PanelMatrix) {
    let count = out.n();
    assert_eq!(call.places.len, 4 * count as u64, "kron_gather: bytes of the places");
    assert_eq!(call.scale.len(), count, "kron_gather: scale");
    for (first, to) in out.panels() {
        for (start, from) in call.a.panels() {
            let params = Params {
                count: count as u32,
                rows: to.rows() as u32,
                first: first as u32,
                cols: call.a.n() as u32,
                g_cols: call.g.cols() as u32,
                g_first: call.g_first as u32,
                start: start as u32,
                a_rows: from.rows() as u32,
            };
            let (g, a) = (call.g.slice(), from.slice());
            let bindings = [call.places.clone(), call.scale.slice(), g, a, to.slice()];
            recording.dispatch(&KERNEL, &[], &params, &bindings, Workload::flat(to.len(), THREADS));
        }
    }
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let (count, cols) = (p.count as usize, p.cols as usize);
    let ([places, scale, g, a], [out]) = call.split::<4, 1>();
    let (places, scale) = (&places[..count], &f32s(scale)[..count]);
    let g = twin::Rows {
        values: f32s(g),
        cols: p.g_cols as usize,
        first: p.g_first as usize,
    };
    let a = twin::Rows {
        values: &f32s(a)[..p.a_rows as usize * cols],
        cols,
        first: p.start as usize,
    };
    let out = &mut f32s_mut(out)[..p.rows as usize * count];
    (out.par_chunks_exact_mut(count).enumerate())
        .for_each(|(i, row)| twin::kron_gather(places, scale, p.first as usize + i, [&g, &a], row));
}
