// Blocks of queries and of keys in workgroup memory, and the pairs between them, for the gradients of attention.
// The importing kernel declares HEAD_DIM, `params` (seq, heads, kv_heads, scale, soft_cap) and bindings `q`, `k`, `v`, `dout`.
// A lane is (row, column, piece) = (lane / LANES, lane % LANES / SPLIT, lane % SPLIT): SPLIT lanes share one dot product.
#import tanh

const THREADS: u32 = 64u;
// Queries and keys of a block: as many as keep four blocks in 16 KiB.
const BLOCK: u32 = select(select(8u, 4u, HEAD_DIM > 64u), 2u, HEAD_DIM > 128u);
const LANES: u32 = THREADS / BLOCK;
const SPLIT: u32 = LANES / BLOCK;
const VECS: u32 = (HEAD_DIM + 3u) / 4u; // vec4 per head, the last padded with zeros
const STRIDE: u32 = VECS + 1u; // neighbouring rows start in different banks
const ACCS: u32 = (VECS + LANES - 1u) / LANES; // vec4 of a result per invocation

var<workgroup> sh_q: array<vec4<f32>, BLOCK * STRIDE>; // [query][vec], times scale
var<workgroup> sh_dout: array<vec4<f32>, BLOCK * STRIDE>; // [query][vec]
var<workgroup> sh_k: array<vec4<f32>, BLOCK * STRIDE>; // [key][vec]
var<workgroup> sh_v: array<vec4<f32>, BLOCK * STRIDE>; // [key][vec]
var<workgroup> sh_score: array<f32, THREADS>; // [row][column][piece]
var<workgroup> sh_pull: array<f32, THREADS>; // [row][column][piece]
var<workgroup> sh_weight: array<f32, BLOCK * BLOCK>; // [row][column], what the kernel makes of a pair
var<workgroup> sh_gradient: array<f32, BLOCK * BLOCK>; // [row][column]

// Columns col .. col + 4 of a head, for queries; zero beyond it.
fn query_part(at: u32, col: u32) -> array<vec4<f32>, 2> {
    var parts: array<vec4<f32>, 2>;
    for (var i = 0u; i < 4u; i++) {
        if col + i < HEAD_DIM {
            parts[0][i] = params.scale * q[at + col + i];
            parts[1][i] = dout[at + col + i];
        }
    }
    return parts;
}

// The same for keys and values.
fn key_part(at: u32, col: u32) -> array<vec4<f32>, 2> {
    var parts: array<vec4<f32>, 2>;
    for (var i = 0u; i < 4u; i++) {
        if col + i < HEAD_DIM {
            parts[0][i] = k[at + col + i];
            parts[1][i] = v[at + col + i];
        }
    }
    return parts;
}

// Queries and their output gradients to workgroup memory; positions from `end` become zero.
fn load_queries(lane: u32, start: u32, position0: u32, end: u32, head: u32) {
    for (var slot = lane; slot < BLOCK * VECS; slot += THREADS) {
        let query = slot / VECS;
        var parts: array<vec4<f32>, 2>;
        if position0 + query < end {
            let at = ((start + position0 + query) * params.heads + head) * HEAD_DIM;
            parts = query_part(at, slot % VECS * 4u);
        }
        sh_q[query * STRIDE + slot % VECS] = parts[0];
        sh_dout[query * STRIDE + slot % VECS] = parts[1];
    }
}

// Keys and values to workgroup memory; positions from `end` become zero.
fn load_keys(lane: u32, start: u32, key0: u32, end: u32, kv_head: u32) {
    for (var slot = lane; slot < BLOCK * VECS; slot += THREADS) {
        let key = slot / VECS;
        var parts: array<vec4<f32>, 2>;
        if key0 + key < end {
            let at = ((start + key0 + key) * params.kv_heads + kv_head) * HEAD_DIM;
            parts = key_part(at, slot % VECS * 4u);
        }
        sh_k[key * STRIDE + slot % VECS] = parts[0];
        sh_v[key * STRIDE + slot % VECS] = parts[1];
    }
}

// This lane's pieces of q . k and dout . v.
fn products(lane: u32, query: u32, key: u32) {
    var score = 0.0;
    var pull = 0.0;
    for (var c = lane % SPLIT; c < VECS; c += SPLIT) {
        score += dot(sh_q[query * STRIDE + c], sh_k[key * STRIDE + c]);
        pull += dot(sh_dout[query * STRIDE + c], sh_v[key * STRIDE + c]);
    }
    sh_score[lane] = score;
    sh_pull[lane] = pull;
}

// Score after the cap, slope of the cap, and dout . v of the pair whose first piece is this lane's.
fn pair(lane: u32) -> vec3<f32> {
    var score = 0.0;
    var pull = 0.0;
    for (var piece = 0u; piece < SPLIT; piece++) {
        score += sh_score[lane + piece];
        pull += sh_pull[lane + piece];
    }
    var slope = 1.0;
    if params.soft_cap > 0.0 {
        let tangent = exact_tanh(score / params.soft_cap);
        score = params.soft_cap * tangent;
        slope = 1.0 - tangent * tangent;
    }
    return vec3<f32>(score, slope, pull);
}
