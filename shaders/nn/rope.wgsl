// Rotary position embedding in place, Hugging Face's Llama convention: a head's dimension i is paired with i + half.
// (x_i, x_{i+half}) = (x_i cos - x_{i+half} sin, x_{i+half} cos + x_i sin), half = rotary / 2; dimensions from rotary stay.
// With turn -1 instead of 1 sines change sign: the inverse rotation, which is also the gradient's.
// Reads and writes the rotated part of x once, reads cos and sin once per head. One invocation per pair.
#import index

struct Params {
    rows: u32,
    seq: u32, // position of a row = row % seq
    heads: u32,
    head_dim: u32,
    half_dim: u32, // rotary / 2
    turn: f32, // 1 or -1
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<f32>; // [positions, 2 * half_dim]: cos of each pair, then sin
@group(0) @binding(2) var<storage, read_write> x: array<f32>; // [rows, heads * head_dim] row-major

const THREADS: u32 = 64u;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_group(group, groups) * THREADS + lane;
    if index >= params.rows * params.heads * params.half_dim {
        return;
    }
    let pair = index % params.half_dim;
    let row_head = index / params.half_dim; // row * heads + head
    let angle = row_head / params.heads % params.seq * (2u * params.half_dim) + pair;
    let cosine = table[angle];
    let sine = params.turn * table[angle + params.half_dim];
    let at = row_head * params.head_dim + pair;
    let left = x[at];
    let right = x[at + params.half_dim];
    x[at] = left * cosine - right * sine;
    x[at + params.half_dim] = right * cosine + left * sine;
}
