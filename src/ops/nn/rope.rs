//! `nn/rope`: rotary position embedding.

use rayon::prelude::*;

use crate::gpu::{HostCall, Kernel, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::nn::rope as twin;
use crate::tensor::{DType, Tensor};

params! {
    /// Sizes in rows and columns.
    struct Params {
        /// Rows of x.
        rows: u32,
        /// Rows per sequence.
        seq: u32,
        /// Heads of x.
        heads: u32,
        /// Columns of a head.
        head_dim: u32,
        /// Pairs of a head.
        half_dim: u32,
        /// 1, or -1 for the inverse rotation.
        turn: f32,
        /// Padding.
        pad0: u32,
        /// Padding.
        pad1: u32,
    }
}

/// The kernel's row.
pub static ROPE: Kernel = Kernel {
    stem: "nn/rope",
    source: include_str!("../../../shaders/nn/rope.wgsl"),
    knobs: &[],
    params: Params::FIELDS,
    reads: 1,
    writes: 1,
    host,
};

/// How heads and sequences lie in the rows that [`rope()`] rotates.
#[derive(Clone, Copy, Debug)]
pub struct RopeShape {
    /// Rows per sequence: the position of a row is `row % seq`.
    pub seq: usize,
    /// Heads side by side in a row.
    pub heads: usize,
    /// Columns of a head.
    pub head_dim: usize,
    /// Columns of a head that are rotated, the first ones; even.
    pub rotary_dim: usize,
}

/// Records the rotation of every head in place, as Hugging Face's Llama does it (`rotate_half`): column i of a head is
/// paired with column `i + rotary_dim / 2`.
///
/// `x` `[tokens, heads * head_dim]`; `table` `[>= seq, rotary_dim]`: a position's cosines, then its sines. Panics on
/// shapes that do not fit.
pub fn rope(recording: &mut Recording, x: &Tensor, table: &Tensor, shape: RopeShape) {
    turn(recording, x, table, shape, 1.0);
}

/// Records the inverse rotation in place: the gradient of what [`rope()`] made becomes that of what it was given.
pub fn rope_backward(recording: &mut Recording, x: &Tensor, table: &Tensor, shape: RopeShape) {
    turn(recording, x, table, shape, -1.0);
}

fn turn(recording: &mut Recording, x: &Tensor, table: &Tensor, shape: RopeShape, turn: f32) {
    let RopeShape {
        seq,
        heads,
        head_dim,
        rotary_dim,
    } = shape;
    assert_eq!(x.cols(), heads * head_dim, "rope: columns of x");
    assert_eq!(table.cols(), rotary_dim, "rope: columns of the table");
    assert!(
        rotary_dim <= head_dim && rotary_dim.is_multiple_of(2),
        "rope: rotates {rotary_dim} of {head_dim}"
    );
    assert!(
        table.rows() >= seq.min(x.rows()),
        "rope: {} positions for {seq} rows",
        table.rows()
    );
    assert!(
        x.dtype() == DType::F32 && table.dtype() == DType::F32,
        "rope: x and table are f32"
    );
    let params = Params {
        rows: x.rows() as u32,
        seq: seq as u32,
        heads: heads as u32,
        head_dim: head_dim as u32,
        half_dim: (rotary_dim / 2) as u32,
        turn,
        ..Params::default()
    };
    let pairs = x.rows() * heads * rotary_dim / 2;
    let bindings = [table.slice(), x.slice()];
    recording.dispatch(&ROPE, &[], &params, &bindings, Workload::flat(pairs, 64));
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let ([table], [x]) = call.split::<1, 1>();
    let (seq, head_dim, rotary) = (p.seq as usize, p.head_dim as usize, 2 * p.half_dim as usize);
    let rows = f32s_mut(x).par_chunks_mut(p.heads as usize * head_dim);
    rows.take(p.rows as usize).enumerate().for_each(|(row, x)| {
        let angles = &f32s(table)[row % seq * rotary..][..rotary];
        if p.turn > 0.0 {
            twin::rope(head_dim, angles, x);
        } else {
            twin::rope_backward(head_dim, angles, x);
        }
    });
}
