// Writes the diagonal of a panel of rows of a matrix.
// x[i, first + i] = values[first + i]. One element of each row of x is written.
#import index

struct Params {
    rows: u32,
    cols: u32,
    first: u32, // column of the first row's diagonal element
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<f32>; // [>= first + rows]
@group(0) @binding(2) var<storage, read_write> x: array<f32>; // [rows, cols] row-major

const THREADS: u32 = 64u;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_group(group, groups) * THREADS + lane;
    if i < params.rows {
        x[i * params.cols + params.first + i] = values[params.first + i];
    }
}
