// Gradient of the root-mean-square norm of each row with respect to its input.
// dx = f (dy weight - x f^2 mean(dy weight x)), f = inverseSqrt(mean(x^2) + eps)
// Reads x and dy twice and writes dx once; one workgroup per row. Sums in f32: each lane adds its columns lane,
// lane + 64, ... in ascending order, then the 64 sums are added as a binary tree.
#import index
#import reduce

struct Params {
    rows: u32,
    cols: u32,
    eps: f32,
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [rows, cols] row-major
@group(0) @binding(2) var<storage, read> weight: array<f32>; // [cols]
@group(0) @binding(3) var<storage, read> dy: array<f32>; // [rows, cols] row-major
@group(0) @binding(4) var<storage, read_write> dx: array<f32>; // [rows, cols] row-major

@compute @workgroup_size(REDUCE_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_group(group, groups);
    let start = row * params.cols;
    let count = f32(params.cols);
    // A row out of range has no columns.
    let cols = select(0u, params.cols, row < params.rows);
    var squares = 0.0;
    var pulls = 0.0;
    for (var col = lane; col < cols; col += REDUCE_SIZE) {
        let value = x[start + col];
        squares += value * value;
        pulls += dy[start + col] * weight[col] * value;
    }
    let factor = inverseSqrt(workgroup_sum(lane, squares) / count + params.eps);
    let pull = workgroup_sum(lane, pulls) / count * factor * factor;
    for (var col = lane; col < cols; col += REDUCE_SIZE) {
        dx[start + col] = factor * (dy[start + col] * weight[col] - x[start + col] * pull);
    }
}
