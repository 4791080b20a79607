// Rows and columns of a square matrix in another order, from one panel of rows to another.
// out[i, j] = x[order[first + i] - start, order[j]] where that row lies in x; other rows of out stay as they are.
// Reads the rows it finds once, across their columns; writes as much of out once, in order.
#import index

struct Params {
    n: u32, // columns
    rows: u32, // of out
    first: u32, // row of out in the whole matrix
    start: u32, // row of x in the whole matrix
    x_rows: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> order: array<u32>; // [n]
@group(0) @binding(2) var<storage, read> x: array<f32>; // [x_rows, n] row-major
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // [rows, n] row-major

const THREADS: u32 = 256u;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_group(group, groups) * THREADS + lane;
    if i >= params.rows * params.n {
        return;
    }
    // Below the panel the difference wraps round to a large number.
    let row = order[params.first + i / params.n] - params.start;
    if row < params.x_rows {
        out[i] = x[row * params.n + order[i % params.n]];
    }
}
