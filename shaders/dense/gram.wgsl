// Gram or cross-Gram of one chunk of tokens, added to a running total (two-level summation: the chunk from zero, in
// f32, then one addition; a single running f32 sum over 100 k tokens would be 100 x less accurate).
// total += a^T b, on and above the diagonal if only the upper triangle is wanted. Reads a and b once per tile of the total, the total once.
// Where there are few tiles, the chunk comes in parts side by side: workgroups z sum part z from zero and put it into the
// z-th of several matrices, which `sum_parts` then adds up.
#import tile

struct Params {
    tokens: u32,
    rows: u32,
    cols: u32,
    a_start: u32,
    a_stride: u32,
    b_start: u32,
    b_stride: u32,
    upper: u32, // 1: leave what is below the diagonal as it is
    first_row: u32, // first row of the total that this dispatch computes
    part: u32, // tokens of a part
    apart: u32, // 1: each part replaces a matrix of its own; 0: the only part is added to the total
    part_stride: u32, // elements from one part's matrix to the next
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>; // [tokens, >= rows] row-major
@group(0) @binding(2) var<storage, read> b: array<f32>; // [tokens, >= cols] row-major
@group(0) @binding(3) var<storage, read_write> total: array<f32>; // [rows, cols] row-major, or [parts, .., cols]

const A_ALONG_K: bool = false;
const B_ALONG_K: bool = false;
const B_SHORT: bool = false;

var<private> first_token: u32; // of this workgroup's part
var<private> part_tokens: u32; // for loads; loops with barriers count by a local, which the standard calls uniform
var<private> out_start: u32;

fn load_a(row: u32, k: u32) -> f32 {
    if row >= params.rows || k >= part_tokens {
        return 0.0;
    }
    return a[params.a_start + (first_token + k) * params.a_stride + row];
}

fn load_b(k: u32, col: u32) -> f32 {
    if k >= part_tokens || col >= params.cols {
        return 0.0;
    }
    return b[params.b_start + (first_token + k) * params.b_stride + col];
}

fn finish(row: u32, col: u32, value: vec4<f32>) {
    if row >= params.rows {
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        let c = col + i * COL_STEP;
        if c < params.cols && (params.upper == 0u || c >= row) {
            let at = out_start + row * params.cols + c;
            var sum = value[i];
            if params.apart == 0u {
                sum += total[at];
            }
            total[at] = sum;
        }
    }
}

@compute @workgroup_size(TILE_THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = group.z * params.part;
    let tokens = min(params.part, params.tokens - min(params.tokens, first));
    first_token = first;
    part_tokens = tokens;
    out_start = group.z * params.part_stride;
    // Rows of tiles from both ends in turn: of a triangle the first half has three quarters of the work, and drivers that
    // run on the CPU give each thread its share of the groups in advance.
    let half = group.y / 2u;
    let tile_row = select(half, groups.y - 1u - half, group.y % 2u == 1u);
    let row0 = params.first_row + tile_row * TILE_ROWS;
    let col0 = group.x * TILE_COLS;
    // The choice is the same for the whole workgroup, so the barriers inside stay uniform.
    if params.upper == 0u || col0 + TILE_COLS > row0 {
        tile_product(lane, row0, col0, tokens);
        tile_finish(lane, row0, col0);
    }
}
