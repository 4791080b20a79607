// Adds weighted rows to chosen rows of a matrix: what the experts of a mixture computed goes back to its tokens.
// out[rows[i], :] += weights[i] * x[i, :]; numbers of rows beyond out are skipped. The host promises that no number
// occurs twice, so no two workgroups write one row.
// Reads x once, reads and writes the chosen rows of out once. One workgroup per row of x.
#import index

struct Params {
    count: u32,
    cols: u32,
    out_rows: u32,
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<u32>; // [count]
@group(0) @binding(2) var<storage, read> weights: array<f32>; // [count]
@group(0) @binding(3) var<storage, read> x: array<f32>; // [count, cols] row-major
@group(0) @binding(4) var<storage, read_write> out: array<f32>; // [out_rows, cols] row-major

const THREADS: u32 = 64u;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_group(group, groups);
    if i >= params.count {
        return;
    }
    let row = rows[i];
    if row >= params.out_rows {
        return;
    }
    let weight = weights[i];
    for (var col = lane; col < params.cols; col += THREADS) {
        out[row * params.cols + col] += weight * x[i * params.cols + col];
    }
}
