// Gradient of the layer norm of each row with respect to its input.
// dx = f (g - mean(g) - z mean(g z)), g = dy weight, z = (x - mean(x)) f, f = 1 / sqrt(var(x) + eps)
// Reads x and dy three times and writes dx once; one workgroup per row. The second pass sums differences from the first
// pass's means, so nothing cancels where a mean is far larger than the deviation. Sums in f32: each lane adds its columns
// lane, lane + 64, ... in ascending order, then the 64 sums are added as a binary tree.
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
    var sum = 0.0;
    var gradients = 0.0;
    for (var col = lane; col < cols; col += REDUCE_SIZE) {
        sum += x[start + col];
        gradients += dy[start + col] * weight[col];
    }
    let first = workgroup_sum(lane, sum) / count;
    let level = workgroup_sum(lane, gradients) / count;
    var differences = 0.0;
    var squares = 0.0;
    var pulls = 0.0;
    for (var col = lane; col < cols; col += REDUCE_SIZE) {
        let difference = x[start + col] - first;
        differences += difference;
        squares += difference * difference;
        pulls += (dy[start + col] * weight[col] - level) * difference;
    }
    // What rounding left of the mean; the gradients' differences sum to nearly zero, so it does not matter in pulls.
    let rest = workgroup_sum(lane, differences) / count;
    let variance = max(workgroup_sum(lane, squares) / count - rest * rest, 0.0);
    let factor = inverseSqrt(variance + params.eps);
    let pull = workgroup_sum(lane, pulls) / count * factor * factor;
    for (var col = lane; col < cols; col += REDUCE_SIZE) {
        let difference = x[start + col] - first - rest;
        dx[start + col] = factor * (dy[start + col] * weight[col] - level - difference * pull);
    }
}
