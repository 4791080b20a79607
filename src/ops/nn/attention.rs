//! `nn/attention` and `nn/attention_half`: causal grouped-query attention with an online softmax.

use std::ops::Range;

use crate::gpu::{Gpu, HostCall, Kernel, Knob, Recording, Workload, f32s, f32s_mut, params};
use crate::reference::nn::attention::{self as twin, Shape};
use crate::tensor::{DType, Tensor};

params! {
    /// Sizes, the query blocks of this dispatch, and what becomes of the scores.
    struct Params {
        /// Rows of q.
        rows: u32,
        /// Rows per sequence.
        seq: u32,
        /// Query heads.
        heads: u32,
        /// Key and value heads.
        kv_heads: u32,
        /// First query block of every sequence.
        first_block: u32,
        /// Number of query blocks of every sequence.
        blocks: u32,
        /// Factor of the scores.
        scale: f32,
        /// Positions a query sees, itself included; 0: all before it.
        window: u32,
        /// Bound of the scores; 0: none.
        soft_cap: f32,
        /// Padding.
        pad0: u32,
        /// Padding.
        pad1: u32,
        /// Padding.
        pad2: u32,
    }
}

/// The kernel's row.
pub static ATTENTION: Kernel = Kernel {
    stem: "nn/attention",
    source: include_str!("../../../shaders/nn/attention.wgsl"),
    knobs: &[Knob {
        name: "HEAD_DIM",
        values: &[8, 64, 80, 128, 256],
    }],
    params: Params::FIELDS,
    reads: 3,
    writes: 1,
    host,
};

/// The variant with queries, keys and values as halves in workgroup memory: 11 bits of precision, half the memory, so
/// that more fits beside it, and heads of more than 64 columns come in larger blocks.
pub static ATTENTION_HALF: Kernel = Kernel {
    stem: "nn/attention_half",
    host: host_half,
    ..ATTENTION
};

/// How heads and sequences lie in the rows given to [`attention()`].
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// Rows per sequence; a token attends to its own sequence up to its own position.
    pub seq: usize,
    /// Query heads side by side in a row of q.
    pub heads: usize,
    /// Key and value heads; query head h uses `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Columns of a head, at most 256.
    pub head_dim: usize,
    /// Factor of the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Positions a token sees, itself included (Hugging Face's `sliding_window`); `None`: all before it.
    pub window: Option<usize>,
    /// Scores become `cap * tanh(score / cap)` (Gemma 2); `None`: they stay.
    pub soft_cap: Option<f32>,
}

fn is_half(kernel: &Kernel) -> bool {
    kernel.stem == ATTENTION_HALF.stem
}

/// Queries, and keys, of one block: the shader's BLOCK.
fn block(kernel: &Kernel, head_dim: usize) -> usize {
    let span = if is_half(kernel) { head_dim / 2 } else { head_dim };
    match span {
        0..=64 => 16,
        65..=128 => 8,
        _ => 4,
    }
}

/// Records causal grouped-query attention, cut into ranges of query blocks short enough for a watchdog.
///
/// `q` and `out` `[batch * seq, heads * head_dim]`, `k` and `v` `[batch * seq, kv_heads * head_dim]`, all f32. Scores
/// are never stored: memory is linear in the length. Panics on shapes that do not fit.
pub fn attention(
    recording: &mut Recording,
    gpu: &Gpu,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    out: &Tensor,
    shape: AttentionShape,
) {
    let kernel = if gpu.half_attention() {
        &ATTENTION_HALF
    } else {
        &ATTENTION
    };
    attention_with(recording, (kernel, gpu.dispatch_flops() as f64), [q, k, v], out, shape);
}

/// Records attention on one of its kernels with at most `limit` flops per dispatch, but at least one query block (tests
/// and benches).
pub fn attention_with(
    recording: &mut Recording,
    (kernel, limit): (&'static Kernel, f64),
    [q, k, v]: [&Tensor; 3],
    out: &Tensor,
    shape: AttentionShape,
) {
    check([q, k, v], out, shape);
    let size = block(kernel, shape.head_dim);
    let heads = q.rows() / shape.seq * shape.heads;
    let blocks = shape.seq.div_ceil(size);
    // Keys up to the diagonal, or the window and what blocks stick out of it at either end.
    let keys = |block: usize| ((block + 1) * size).min(shape.window.map_or(usize::MAX, |w| w.saturating_add(2 * size)));
    let flops = |block: usize| (4 * size * shape.head_dim * heads) as f64 * keys(block) as f64;
    let mut first = 0;
    while first < blocks {
        let (mut end, mut sum) = (first + 1, flops(first));
        while end < blocks && sum + flops(end) <= limit {
            sum += flops(end);
            end += 1;
        }
        let params = Params {
            rows: q.rows() as u32,
            seq: shape.seq as u32,
            heads: shape.heads as u32,
            kv_heads: shape.kv_heads as u32,
            first_block: first as u32,
            blocks: (end - first) as u32,
            scale: shape.scale,
            window: shape.window.unwrap_or(0).min(shape.seq) as u32,
            soft_cap: shape.soft_cap.unwrap_or(0.0),
            ..Params::default()
        };
        let knobs = [shape.head_dim as u32];
        let bindings = [q.slice(), k.slice(), v.slice(), out.slice()];
        let work = Workload::rows((end - first) * heads, sum);
        recording.dispatch(kernel, &knobs, &params, &bindings, work);
        first = end;
    }
}

fn check([q, k, v]: [&Tensor; 3], out: &Tensor, shape: AttentionShape) {
    let AttentionShape {
        seq,
        heads,
        kv_heads,
        head_dim,
        window,
        soft_cap,
        ..
    } = shape;
    let rows = q.rows();
    assert!(
        seq > 0 && rows.is_multiple_of(seq),
        "attention: {rows} rows in sequences of {seq}"
    );
    assert!(
        kv_heads > 0 && heads.is_multiple_of(kv_heads),
        "attention: {heads} heads on {kv_heads}"
    );
    assert!(window != Some(0), "attention: a window of 0 positions");
    assert!(
        (1..=256).contains(&head_dim),
        "attention: heads of {head_dim} columns (1 to 256 are supported)"
    );
    assert!(
        soft_cap.is_none_or(|cap| cap > 0.0 && cap.is_finite()),
        "attention: a soft cap of {soft_cap:?}"
    );
    assert_eq!(q.cols(), heads * head_dim, "attention: columns of q");
    assert_eq!(k.shape(), [rows, kv_heads * head_dim], "attention: shape of k");
    assert_eq!(v.shape(), k.shape(), "attention: shape of v");
    assert_eq!(out.shape(), q.shape(), "attention: shape of out");
    let f32s = [q, k, v, out].iter().all(|t| t.dtype() == DType::F32);
    assert!(f32s, "attention: q, k, v and out are f32");
}

fn host(call: &mut HostCall<'_>) {
    let (shape, positions, rows) = host_shape(call, &ATTENTION);
    let ([q, k, v], [out]) = call.split::<3, 1>();
    let out = &mut f32s_mut(out)[..rows * shape.heads * shape.head_dim];
    twin::attention_fast(shape, positions, [f32s(q), f32s(k), f32s(v)], out);
}

fn host_half(call: &mut HostCall<'_>) {
    let (shape, positions, rows) = host_shape(call, &ATTENTION_HALF);
    let ([q, k, v], [out]) = call.split::<3, 1>();
    let out = &mut f32s_mut(out)[..rows * shape.heads * shape.head_dim];
    let [q, k, v] = [(q, shape.scale), (k, 1.0), (v, 1.0)].map(|(x, scale)| twin::halves(f32s(x), scale));
    let scaled = Shape { scale: 1.0, ..shape };
    twin::attention_fast(scaled, positions, [&q, &k, &v], out);
}

/// Shape, positions of the queries, and rows of a dispatch.
fn host_shape(call: &HostCall<'_>, kernel: &Kernel) -> (Shape<f32>, Range<usize>, usize) {
    let p: Params = call.params();
    let head_dim = call.knobs[0] as usize;
    let block = block(kernel, head_dim);
    let shape = Shape {
        seq: p.seq as usize,
        heads: p.heads as usize,
        kv_heads: p.kv_heads as usize,
        head_dim,
        scale: p.scale,
        window: (p.window > 0).then_some(p.window as usize),
        soft_cap: (p.soft_cap > 0.0).then_some(p.soft_cap),
    };
    let first = p.first_block as usize * block;
    (shape, first..first + p.blocks as usize * block, p.rows as usize)
}
