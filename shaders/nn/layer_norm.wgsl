// Layer norm of each row: zero mean, unit variance, then scale and shift.
// out = (x - mean) / sqrt(var + eps) * weight + bias
// Reads each row three times and writes it once; one workgroup per row. The second pass sums differences from the
// first pass's mean and their squares, so nothing cancels where the mean is far larger than the deviation. Sums in
// f32: each lane adds its columns lane, lane + 64, ... in ascending order, then the 64 sums are added as a binary tree.
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
@group(0) @binding(3) var<storage, read> bias: array<f32>; // [cols]
@group(0) @binding(4) var<storage, read_write> out: array<f32>; // [rows, cols] row-major

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
    for (var col = lane; col < cols; col += REDUCE_SIZE) {
        sum += x[start + col];
    }
    let mean = workgroup_sum(lane, sum) / count;
    var differences = 0.0;
    var squares = 0.0;
    for (var col = lane; col < cols; col += REDUCE_SIZE) {
        let difference = x[start + col] - mean;
        differences += difference;
        squares += difference * difference;
    }
    // What rounding left of the mean.
    let rest = workgroup_sum(lane, differences) / count;
    let variance = max(workgroup_sum(lane, squares) / count - rest * rest, 0.0);
    let factor = inverseSqrt(variance + params.eps);
    for (var col = lane; col < cols; col += REDUCE_SIZE) {
        out[start + col] = (x[start + col] - mean - rest) * factor * weight[col] + bias[col];
    }
}
