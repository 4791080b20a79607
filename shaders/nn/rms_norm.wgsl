// Root-mean-square norm of each row.
// out = x * inverseSqrt(mean(x^2) + eps) * weight
// Reads each row twice and writes it once; one workgroup per row. Sums in f32: each lane adds its columns lane,
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
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // [rows, cols] row-major

@compute @workgroup_size(REDUCE_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_group(group, groups);
    let start = row * params.cols;
    // A row out of range has no columns.
    let cols = select(0u, params.cols, row < params.rows);
    var sum = 0.0;
    for (var col = lane; col < cols; col += REDUCE_SIZE) {
        let value = x[start + col];
        sum += value * value;
    }
    let factor = inverseSqrt(workgroup_sum(lane, sum) / f32(params.cols) + params.eps);
    for (var col = lane; col < cols; col += REDUCE_SIZE) {
        out[start + col] = x[start + col] * factor * weight[col];
    }
}
