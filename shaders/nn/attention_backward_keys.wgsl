// Gradients of causal attention with respect to keys and values.
// dv[j] = sum_i p_ij dout[i], dk[j] = scale sum_i p_ij (dout[i] . v[j] - D_i) c_ij q[i], over the queries i that see j in
// all heads of its group; p_ij = exp(s_ij - L_i), (L_i, D_i) = stats[i] and c_ij as in nn/attention_backward_queries.
// One workgroup per block of BLOCK keys and key head: no atomics, memory is linear in the length. Reads k and v once, q and
// dout once per key block from the diagonal to where its window ends, writes dk and dv once.
// Sums in f32: dot products in SPLIT interleaved parts, over heads, then queries in ascending order.
#import index
#import attention_pairs

struct Params {
    rows: u32,
    seq: u32, // rows per sequence
    heads: u32,
    kv_heads: u32,
    first_block: u32, // key blocks first_block .. first_block + blocks of every sequence
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
@group(0) @binding(4) var<storage, read> dout: array<f32>; // [rows, heads * HEAD_DIM] row-major
@group(0) @binding(5) var<storage, read> stats: array<f32>; // [rows, heads, 2]
@group(0) @binding(6) var<storage, read_write> dk: array<f32>; // [rows, kv_heads * HEAD_DIM] row-major
@group(0) @binding(7) var<storage, read_write> dv: array<f32>; // [rows, kv_heads * HEAD_DIM] row-major

// Whether the query at `position` sees `key`.
fn sees(position: u32, key: u32) -> bool {
    return key <= position && (params.window == 0u || position - key < params.window);
}

// Weight and gradient of the score of this lane's pair to workgroup memory; zero where the query does not see the key.
fn weigh(lane: u32, row_head: u32, visible: bool) {
    var weight = 0.0;
    var pull = 0.0;
    if visible {
        let found = pair(lane);
        weight = exp(found.x - stats[2u * row_head]);
        pull = weight * (found.z - stats[2u * row_head + 1u]) * found.y;
    }
    sh_weight[lane / SPLIT] = weight;
    sh_gradient[lane / SPLIT] = pull;
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_group(group, groups);
    let block = params.first_block + index % params.blocks;
    let kv_head = index / params.blocks % params.kv_heads;
    let start = index / params.blocks / params.kv_heads * params.seq;
    let per_group = params.heads / params.kv_heads;
    // A workgroup out of range has no queries and no keys.
    let inside = start < params.rows;
    let end = select(0u, params.seq, inside);
    let key = lane / LANES;
    let part = lane % LANES;
    let key_position = block * BLOCK + key;
    load_keys(lane, start, block * BLOCK, end, kv_head);

    var query_end = end;
    if params.window != 0u {
        query_end = min(end, (block + 1u) * BLOCK - 1u + params.window);
    }
    var acc_k: array<vec4<f32>, ACCS>;
    var acc_v: array<vec4<f32>, ACCS>;
    for (var head = kv_head * per_group; head < (kv_head + 1u) * per_group; head++) {
        for (var query0 = block * BLOCK; query0 < query_end; query0 += BLOCK) {
            load_queries(lane, start, query0, end, head);
            workgroupBarrier();
            products(lane, part / SPLIT, key);
            workgroupBarrier();
            if part % SPLIT == 0u {
                let position = query0 + part / SPLIT;
                let row_head = (start + position) * params.heads + head;
                weigh(lane, row_head, position < end && sees(position, key_position));
            }
            workgroupBarrier();
            for (var query = 0u; query < BLOCK; query++) {
                let weight = sh_weight[key * BLOCK + query];
                let pull = sh_gradient[key * BLOCK + query];
                for (var i = 0u; i < ACCS; i++) {
                    // Beyond the head lies the padding of the row: its sum is never stored.
                    let at = query * STRIDE + min(part + i * LANES, VECS);
                    acc_v[i] += weight * sh_dout[at];
                    acc_k[i] += pull * sh_q[at];
                }
            }
            workgroupBarrier();
        }
    }

    if key_position < end {
        let at = ((start + key_position) * params.kv_heads + kv_head) * HEAD_DIM;
        for (var i = 0u; i < ACCS; i++) {
            for (var j = 0u; j < 4u; j++) {
                let col = 4u * (part + i * LANES) + j;
                if col < HEAD_DIM {
                    dk[at + col] = acc_k[i][j];
                    dv[at + col] = acc_v[i][j];
                }
            }
        }
    }
}
