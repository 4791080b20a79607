// Reads the diagonal of a panel of rows of a matrix.
// out[first + i] = x[i, first + i]. One element of each row of x is read.
#import index

struct Params {
    rows: u32,
    cols: u32,
    first: u32, // column of the first row's diagonal element
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [rows, cols] row-major
@group(0) @binding(2) var<storage, read_write> out: array<f32>; // [>= first + rows]

const THREADS: u32 = 64u;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_group(group, groups) * THREADS + lane;
    if i < params.rows {
        out[params.first + i] = x[i * params.cols + params.first + i];
    }
}
