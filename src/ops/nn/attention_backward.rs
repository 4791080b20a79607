//! `nn/attention_backward_queries` and `nn/attention_backward_keys`: gradients of causal grouped-query attention.

use super::AttentionShape;
use crate::gpu::{Gpu, HostCall, Kernel, Knob, Recording, Slice, Workload, f32s, f32s_mut, params};
use crate::reference::nn::attention::Shape;
use crate::reference::nn::attention_backward as twin;
use crate::tensor::{DType, Tensor};

params! {
    /// Sizes, the blocks of this dispatch, and what becomes of the scores.
    struct Params {
        /// Rows of q.
        rows: u32,
        /// Rows per sequence.
        seq: u32,
        /// Query heads.
        heads: u32,
        /// Key and value heads.
        kv_heads: u32,
        /// First query or key block of every sequence.
        first_block: u32,
        /// Number of blocks of every sequence.
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

const KNOBS: &[Knob] = &[Knob {
    name: "HEAD_DIM",
    values: &[8, 64, 80, 128, 256],
}];

/// The row of the queries' kernel.
pub static ATTENTION_BACKWARD_QUERIES: Kernel = Kernel {
    stem: "nn/attention_backward_queries",
    source: include_str!("../../../shaders/nn/attention_backward_queries.wgsl"),
    knobs: KNOBS,
    params: Params::FIELDS,
    reads: 5,
    writes: 2,
    host: host_queries,
};

/// The row of the keys' kernel.
pub static ATTENTION_BACKWARD_KEYS: Kernel = Kernel {
    stem: "nn/attention_backward_keys",
    source: include_str!("../../../shaders/nn/attention_backward_keys.wgsl"),
    knobs: KNOBS,
    params: Params::FIELDS,
    reads: 5,
    writes: 2,
    host: host_keys,
};

/// Operands of [`attention_backward()`], all f32.
#[derive(Clone, Copy)]
pub struct AttentionBackward<'a> {
    /// Queries as attention read them, `[batch * seq, heads * head_dim]`.
    pub q: &'a Tensor,
    /// Keys, `[batch * seq, kv_heads * head_dim]`.
    pub k: &'a Tensor,
    /// Values, like the keys.
    pub v: &'a Tensor,
    /// What attention wrote, like the queries.
    pub out: &'a Tensor,
    /// Its gradient.
    pub dout: &'a Tensor,
    /// Scratch `[batch * seq, 2 * heads]`: per row and head the logarithm of the sum of exponentials, and dout · out.
    pub stats: &'a Tensor,
    /// Gradient of the queries.
    pub dq: &'a Tensor,
    /// Gradient of the keys.
    pub dk: &'a Tensor,
    /// Gradient of the values.
    pub dv: &'a Tensor,
}

/// Queries and keys of one block: the shaders' BLOCK.
fn block(head_dim: usize) -> usize {
    match head_dim {
        1..=64 => 8,
        65..=128 => 4,
        129..=256 => 2,
        _ => panic!("attention_backward: heads of {head_dim} columns (1 to 256 are supported)"),
    }
}

/// Records the gradients of queries, keys and values, recomputing the softmax; cut into ranges of blocks short enough for a
/// watchdog. Scores are never stored: memory is linear in the length. Panics on shapes that do not fit.
pub fn attention_backward(recording: &mut Recording, gpu: &Gpu, call: &AttentionBackward<'_>, shape: AttentionShape) {
    let limit = gpu.dispatch_flops() as f64;
    attention_backward_with(recording, limit, call, shape);
}

/// Records the same with at most `limit` flops per dispatch, but at least one block (tests and benches).
pub fn attention_backward_with(
    recording: &mut Recording,
    limit: f64,
    call: &AttentionBackward<'_>,
    shape: AttentionShape,
) {
    check(call, shape);
    let AttentionBackward {
        q,
        k,
        v,
        out,
        dout,
        stats,
        dq,
        dk,
        dv,
    } = *call;
    let size = block(shape.head_dim);
    let reach = shape.window.map_or(usize::MAX, |w| w.saturating_add(2 * size));
    // Keys from the window to the diagonal; queries from the diagonal to where the window ends.
    let keys = |block: usize| ((block + 1) * size).min(reach);
    let queries = |block: usize| (shape.seq - block * size).min(reach);
    let slices = |tensors: [&Tensor; 7]| tensors.map(Tensor::slice);
    let queries_call = Call {
        kernel: &ATTENTION_BACKWARD_QUERIES,
        bindings: slices([q, k, v, out, dout, stats, dq]),
        heads: shape.heads,
        flops: 6 * q.rows() / shape.seq * shape.heads,
    };
    queries_call.record(recording, limit, q.rows(), shape, keys);
    let keys_call = Call {
        kernel: &ATTENTION_BACKWARD_KEYS,
        bindings: slices([q, k, v, dout, stats, dk, dv]),
        heads: shape.kv_heads,
        flops: 8 * q.rows() / shape.seq * shape.heads,
    };
    keys_call.record(recording, limit, q.rows(), shape, queries);
}

/// One of the two kernels.
struct Call {
    kernel: &'static Kernel,
    bindings: [Slice; 7],
    /// Heads that have a workgroup of their own.
    heads: usize,
    /// Flops per pair of rows and column of a head, over all sequences and heads.
    flops: usize,
}

impl Call {
    /// Records ranges of blocks; a block meets `partners` rows of the other side.
    fn record(
        &self,
        recording: &mut Recording,
        limit: f64,
        rows: usize,
        shape: AttentionShape,
        partners: impl Fn(usize) -> usize,
    ) {
        let size = block(shape.head_dim);
        let blocks = shape.seq.div_ceil(size);
        let flops = |block: usize| (self.flops * size * shape.head_dim) as f64 * partners(block) as f64;
        let mut first = 0;
        while first < blocks {
            let (mut end, mut sum) = (first + 1, flops(first));
            while end < blocks && sum + flops(end) <= limit {
                sum += flops(end);
                end += 1;
            }
            let params = Params {
                rows: rows as u32,
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
            let work = Workload::rows((end - first) * self.heads * (rows / shape.seq), sum);
            recording.dispatch(self.kernel, &[shape.head_dim as u32], &params, &self.bindings, work);
            first = end;
        }
    }
}

fn check(call: &AttentionBackward<'_>, shape: AttentionShape) {
    let rows = call.q.rows();
    let AttentionShape {
        seq,
        heads,
        kv_heads,
        head_dim,
        ..
    } = shape;
    assert!(
        seq > 0 && rows.is_multiple_of(seq),
        "attention_backward: {rows} rows in sequences of {seq}"
    );
    assert!(
        kv_heads > 0 && heads.is_multiple_of(kv_heads),
        "attention_backward: {heads} heads on {kv_heads}"
    );
    assert!(shape.window != Some(0), "attention_backward: a window of 0 positions");
    let wide = [("q", call.q), ("out", call.out), ("dout", call.dout), ("dq", call.dq)];
    let narrow = [("k", call.k), ("v", call.v), ("dk", call.dk), ("dv", call.dv)];
    let stats = ("stats", call.stats, 2 * heads);
    let wide = wide.map(|(name, tensor)| (name, tensor, heads * head_dim));
    let narrow = narrow.map(|(name, tensor)| (name, tensor, kv_heads * head_dim));
    for (name, tensor, cols) in wide.into_iter().chain(narrow).chain([stats]) {
        assert_eq!(tensor.shape(), [rows, cols], "attention_backward: shape of {name}");
        assert!(tensor.dtype() == DType::F32, "attention_backward: {name} is f32");
    }
}

/// The twin's sizes, and the positions of this dispatch.
fn shape_of(call: &HostCall<'_>) -> (Shape<f32>, std::ops::Range<usize>) {
    let p: Params = call.params();
    let head_dim = call.knobs[0] as usize;
    let shape = Shape {
        seq: p.seq as usize,
        heads: p.heads as usize,
        kv_heads: p.kv_heads as usize,
        head_dim,
        scale: p.scale,
        window: (p.window > 0).then_some(p.window as usize),
        soft_cap: (p.soft_cap > 0.0).then_some(p.soft_cap),
    };
    let first = p.first_block as usize * block(head_dim);
    (shape, first..first + p.blocks as usize * block(head_dim))
}

fn host_queries(call: &mut HostCall<'_>) {
    let (shape, positions) = shape_of(call);
    let rows = call.params::<Params>().rows as usize;
    let (inputs, [stats, dq]) = call.split::<5, 2>();
    let stats = &mut f32s_mut(stats)[..rows * 2 * shape.heads];
    let dq = &mut f32s_mut(dq)[..rows * shape.heads * shape.head_dim];
    twin::queries_fast(shape, positions, inputs.map(f32s), stats, dq);
}

fn host_keys(call: &mut HostCall<'_>) {
    let (shape, positions) = shape_of(call);
    let len = call.params::<Params>().rows as usize * shape.kv_heads * shape.head_dim;
    let (inputs, [dk, dv]) = call.split::<5, 2>();
    let (dk, dv) = (&mut f32s_mut(dk)[..len], &mut f32s_mut(dv)[..len]);
    twin::keys_fast(shape, positions, inputs.map(f32s), dk, dv);
}
