// Causal grouped-query attention over several sequences with an online softmax: memory is linear in the length.
// out[i] = sum_j w_ij v[j] / sum_j w_ij, w_ij = exp(s_ij - max_j), s_ij = scale q[i] . k[j] or its soft cap
// cap tanh(s_ij / cap), over i - window < j <= i within the sequence of i.
// One workgroup per block of BLOCK queries and head. Reads q once, k and v once per query block from the window
// to the diagonal, writes out once. Sums in f32: dot products in SPLIT interleaved parts, over keys in ascending order.
#import index
#import stored
#import tanh

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
@group(0) @binding(4) var<storage, read_write> out: array<f32>; // [rows, heads * HEAD_DIM] row-major

const THREADS: u32 = 64u;
// Queries and keys of a block: as many as keep three blocks and the scores in 16 KiB.
const SPAN: u32 = HEAD_DIM * STORED_BYTES / 16u;
const BLOCK: u32 = select(select(16u, 8u, SPAN > 64u), 4u, SPAN > 128u);
const LANES: u32 = THREADS / BLOCK; // invocations per query
const SPLIT: u32 = max(1u, LANES / BLOCK); // invocations per dot product
const KEYS: u32 = BLOCK * SPLIT / LANES; // dot products (or parts) per invocation
const VECS: u32 = (HEAD_DIM + 3u) / 4u; // vec4 per head, the last padded with zeros
const STRIDE: u32 = VECS + 1u; // neighbouring rows start in different banks
const ACCS: u32 = (VECS + LANES - 1u) / LANES; // vec4 of the result per invocation
const NEVER: f32 = -1.0e30; // below any score

var<workgroup> sh_q: array<Stored, BLOCK * STRIDE>; // [query][vec], times scale
var<workgroup> sh_k: array<Stored, BLOCK * STRIDE>; // [key][vec]
var<workgroup> sh_v: array<Stored, BLOCK * STRIDE>; // [key][vec]
var<workgroup> sh_score: array<f32, BLOCK * BLOCK * SPLIT>; // [query][key][part]

fn load_q(at: u32, col: u32) -> f32 {
    if col >= HEAD_DIM {
        return 0.0;
    }
    return params.scale * q[at + col];
}

fn load_k(at: u32, col: u32) -> f32 {
    if col >= HEAD_DIM {
        return 0.0;
    }
    return k[at + col];
}

fn load_v(at: u32, col: u32) -> f32 {
    if col >= HEAD_DIM {
        return 0.0;
    }
    return v[at + col];
}

// Queries to workgroup memory; positions beyond `end` become zero.
fn queries(lane: u32, start: u32, position0: u32, end: u32, head: u32) {
    for (var slot = lane; slot < BLOCK * VECS; slot += THREADS) {
        let query = slot / VECS;
        let c = slot % VECS * 4u;
        var value = vec4<f32>();
        if position0 + query < end {
            let at = ((start + position0 + query) * params.heads + head) * HEAD_DIM;
            value = vec4<f32>(load_q(at, c), load_q(at, c + 1u), load_q(at, c + 2u), load_q(at, c + 3u));
        }
        sh_q[query * STRIDE + slot % VECS] = store4(value);
    }
}

// Keys and values to workgroup memory; positions beyond the sequence become zero.
fn keys(lane: u32, start: u32, key0: u32, kv_head: u32) {
    for (var slot = lane; slot < BLOCK * VECS; slot += THREADS) {
        let key = slot / VECS;
        let c = slot % VECS * 4u;
        let to = key * STRIDE + slot % VECS;
        var key_part = vec4<f32>();
        var value_part = vec4<f32>();
        if key0 + key < params.seq {
            let at = ((start + key0 + key) * params.kv_heads + kv_head) * HEAD_DIM;
            key_part = vec4<f32>(load_k(at, c), load_k(at, c + 1u), load_k(at, c + 2u), load_k(at, c + 3u));
            value_part = vec4<f32>(load_v(at, c), load_v(at, c + 1u), load_v(at, c + 2u), load_v(at, c + 3u));
        }
        sh_k[to] = store4(key_part);
        sh_v[to] = store4(value_part);
    }
}

// This invocation's share of q . k over the block.
fn scores(query: u32, part: u32) {
    var sums: array<f32, KEYS>;
    let piece = part % SPLIT;
    for (var c = piece; c < VECS; c += SPLIT) {
        let value = load4(sh_q[query * STRIDE + c]);
        for (var i = 0u; i < KEYS; i++) {
            sums[i] += dot(value, load4(sh_k[(part + i * LANES) / SPLIT * STRIDE + c]));
        }
    }
    for (var i = 0u; i < KEYS; i++) {
        sh_score[query * BLOCK * SPLIT + part + i * LANES] = sums[i];
    }
}

fn score(query: u32, key: u32) -> f32 {
    var sum = 0.0;
    for (var piece = 0u; piece < SPLIT; piece++) {
        sum += sh_score[(query * BLOCK + key) * SPLIT + piece];
    }
    if params.soft_cap > 0.0 {
        sum = params.soft_cap * exact_tanh(sum / params.soft_cap);
    }
    return sum;
}

// First position that a query sees.
fn first_seen(position: u32) -> u32 {
    if params.window == 0u {
        return 0u;
    }
    return position + 1u - min(params.window, position + 1u);
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
    queries(lane, start, block * BLOCK, end, head);

    var largest = NEVER;
    var total = 0.0;
    var acc: array<vec4<f32>, ACCS>;
    // Key blocks before the first query's window and after the diagonal are masked entirely. In a block between, a query
    // may see no key: both loops over keys are then empty and its state stays.
    let seen = first_seen(position);
    let key_end = select(0u, (block + 1u) * BLOCK, inside);
    for (var key0 = first_seen(block * BLOCK) / BLOCK * BLOCK; key0 < key_end; key0 += BLOCK) {
        keys(lane, start, key0, kv_head);
        workgroupBarrier();
        scores(query, part);
        workgroupBarrier();
        let hidden = max(seen, key0) - key0;
        let visible = min(BLOCK, position + 1u - key0);
        let old = largest;
        for (var key = hidden; key < visible; key++) {
            largest = max(largest, score(query, key));
        }
        let keep = exp(old - largest);
        total *= keep;
        for (var i = 0u; i < ACCS; i++) {
            acc[i] *= keep;
        }
        for (var key = hidden; key < visible; key++) {
            let weight = exp(score(query, key) - largest);
            total += weight;
            for (var i = 0u; i < ACCS; i++) {
                // Beyond the head lies the padding of the row: its sum is never stored.
                acc[i] += weight * load4(sh_v[key * STRIDE + min(part + i * LANES, VECS)]);
            }
        }
        workgroupBarrier();
    }

    if position < end {
        let at = ((start + position) * params.heads + head) * HEAD_DIM;
        for (var i = 0u; i < ACCS; i++) {
            let value = acc[i] / total;
            for (var j = 0u; j < 4u; j++) {
                let col = 4u * (part + i * LANES) + j;
                if col < HEAD_DIM {
                    out[at + col] = value[j];
                }
            }
        }
    }
}
