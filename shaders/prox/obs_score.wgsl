// Score of one block of columns in optimal brain surgery: the root of what removing a weight alone costs.
// score[r, j] = w[r, first + j] / U[j, first + j], U the block's rows of the upper factor of the inverse Gram.
// candidate[r, j] = free[r, first + j]: the block's part of the mask, beside its scores.
// One invocation per element. Reads the block's columns of w and free once, writes as much.
#import index

struct Params {
    rows: u32,
    cols: u32,
    first: u32, // first column of the block
    width: u32, // columns of the block
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> w: array<f32>; // [rows, cols] row-major
@group(0) @binding(2) var<storage, read> is_free: array<f32>; // [rows, cols] row-major
@group(0) @binding(3) var<storage, read> u: array<f32>; // [width, cols] row-major, row j is row first + j of U
@group(0) @binding(4) var<storage, read_write> score: array<f32>; // [rows, width] row-major
@group(0) @binding(5) var<storage, read_write> candidate: array<f32>; // [rows, width] row-major

const THREADS: u32 = 256u;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_group(group, groups) * THREADS + lane;
    if i >= params.rows * params.width {
        return;
    }
    let j = i % params.width;
    let at = i / params.width * params.cols + params.first + j;
    score[i] = w[at] / u[j * params.cols + params.first + j];
    candidate[i] = is_free[at];
}
