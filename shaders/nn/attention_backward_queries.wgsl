// Gradient of causal attention with respect to the queries, and what the keys' pass needs to know of each query.
// dq[i] = scale sum_j p_ij (dout[i] . v[j] - D_i) c_ij k[j]; p_ij = softmax_j(s_ij), the scores of nn/attention;
// D_i = dout[i] . out[i]; c_ij = 1 - (s_ij / cap)^2, or 1 without a cap; stats[i] = (ln sum_j exp(s_ij), D_i) per head.
// One workgroup per block of BLOCK queries and head, one pass over keys with an online softmax: memory is linear in the
// length. Reads q, out and dout once, k and v once per query block from the window to the diagonal, writes dq once.
// Sums in f32: dot products in SPLIT interleaved parts, over keys in ascending order.
#import index
#import attention_pairs

struct Params {
    rows: u32,
    seq: u32, // rows per sequence
    heads: u32,
    kv_heads: u32,
    first_block: u32, // query blocks first_block .. first_block + blocks of every sequence
    blocks: u32,
    scale: f32,
    window: u32, // positions a query sees, itself included; 0: all before it
    soft_cap: f32, // 0: none
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>; // [rows, heads * HEAD_DIM] row-major
@group(0) @binding(2) var<storage, read> k: array<f32>; // [rows, kv_heads * HEAD_DIM] row-major
@group(0) @binding(3) var<storage, read> v: array<f32>; // [rows, kv_heads * HEAD_DIM] row-major
@group(0) @binding(4) var<storage, read> out: array<f32>; // [rows, heads * HEAD_DIM] row-major
@group(0) @binding(5) var<storage, read> dout: array<f32>; // [rows, heads * HEAD_DIM] row-major
@group(0) @binding(6) var<storage, read_write> stats: array<f32>; // [rows, heads, 2]
@group(0) @binding(7) var<storage, read_write> dq: array<f32>; // [rows, heads * HEAD_DIM] row-major

const NEVER: f32 = -1.0e30; // below any score

// First position that a query sees.
fn first_seen(position: u32) -> u32 {
    if params.window == 0u {
        return 0u;
    }
    return position + 1u - min(params.window, position + 1u);
}

// This lane's part of dout . out.
fn mean_part(part: u32, at: u32, inside: bool) -> f32 {
    var sum = 0.0;
    if inside {
        for (var col = part; col < HEAD_DIM; col += LANES) {
            sum += dout[at + col] * out[at + col];
        }
    }
    return sum;
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_group(group, groups);
    let block = params.first_block + index % params.blocks;
    let head = index / params.blocks % params.heads;
    let start = index / params.blocks / params.heads * params.seq;
    let kv_head = head / (params.heads / params.kv_heads);
    // A workgroup out of range has no queries and no keys.
    let inside = start < params.rows;
    let end = select(0u, params.seq, inside);
    let query = lane / LANES;
    let part = lane % LANES;
    let position = block * BLOCK + query;
    let row_head = (start + position) * params.heads + head;
    load_queries(lane, start, block * BLOCK, end, head);
    sh_score[lane] = mean_part(part, row_head * HEAD_DIM, position < end);
    workgroupBarrier();
    var mean = 0.0;
    for (var i = 0u; i < LANES; i++) {
        mean += sh_score[query * LANES + i];
    }
    workgroupBarrier();

    var largest = NEVER;
    var total = 0.0;
    var acc: array<vec4<f32>, ACCS>;
    // As in nn/attention: a query may see no key of a block, and its state then stays.
    let seen = first_seen(position);
    let key_end = select(0u, (block + 1u) * BLOCK, inside);
    for (var key0 = first_seen(block * BLOCK) / BLOCK * BLOCK; key0 < key_end; key0 += BLOCK) {
        load_keys(lane, start, key0, end, kv_head);
        workgroupBarrier();
        products(lane, query, part / SPLIT);
        workgroupBarrier();
        if part % SPLIT == 0u {
            let found = pair(lane);
            sh_weight[lane / SPLIT] = found.x;
            sh_gradient[lane / SPLIT] = (found.z - mean) * found.y;
        }
        workgroupBarrier();
        let hidden = max(seen, key0) - key0;
        let visible = min(BLOCK, position + 1u - key0);
        let old = largest;
        for (var key = hidden; key < visible; key++) {
            largest = max(largest, sh_weight[query * BLOCK + key]);
        }
        let keep = exp(old - largest);
        total *= keep;
        for (var i = 0u; i < ACCS; i++) {
            acc[i] *= keep;
        }
        for (var key = hidden; key < visible; key++) {
            let weight = exp(sh_weight[query * BLOCK + key] - largest);
            total += weight;
            for (var i = 0u; i < ACCS; i++) {
                // Beyond the head lies the padding of the row: its sum is never stored.
                acc[i] += weight * sh_gradient[query * BLOCK + key] * sh_k[key * STRIDE + min(part + i * LANES, VECS)];
            }
        }
        workgroupBarrier();
    }

    if position < end {
        if part == 0u {
            stats[2u * row_head] = largest + log(total);
            stats[2u * row_head + 1u] = mean;
        }
        for (var i = 0u; i < ACCS; i++) {
            let value = params.scale * acc[i] / total;
            for (var j = 0u; j < 4u; j++) {
                let col = 4u * (part + i * LANES) + j;
                if col < HEAD_DIM {
                    dq[row_head * HEAD_DIM + col] = value[j];
                }
            }
        }
    }
}
