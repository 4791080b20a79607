// Scattered rows and columns of a Kronecker product, scaled on both sides, for one panel of the second factor.
// out[i, j] = scale[q] scale[j] g[r_q, r_j] a[c_q, c_j], q = first + i, place = row * cols + column of a weight,
// where c_q lies in the panel of a; other rows of out stay as they are.
// Reads one element of g and one of a per element of out, along their rows; writes out once, in order.
#import index

struct Params {
    count: u32, // places
    rows: u32, // of out
    first: u32, // row of out in the whole result
    cols: u32, // of the weight and of a
    g_cols: u32, // columns of g
    g_first: u32, // row of the factor where g starts
    start: u32, // row of the factor where a starts
    a_rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> places: array<u32>; // [count]
@group(0) @binding(2) var<storage, read> scale: array<f32>; // [count]
@group(0) @binding(3) var<storage, read> g: array<f32>; // [.., g_cols] row-major, all rows that places name
@group(0) @binding(4) var<storage, read> a: array<f32>; // [a_rows, cols] row-major
@group(0) @binding(5) var<storage, read_write> out: array<f32>; // [rows, count] row-major

const THREADS: u32 = 256u;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_group(group, groups) * THREADS + lane;
    if i >= params.rows * params.count {
        return;
    }
    let q = params.first + i / params.count;
    let j = i % params.count;
    // Below the panel the difference wraps round to a large number.
    let row = places[q] % params.cols - params.start;
    if row < params.a_rows {
        let across = places[q] / params.cols - params.g_first;
        let product = g[across * params.g_cols + places[j] / params.cols] * a[row * params.cols + places[j] % params.cols];
        out[i] = scale[q] * scale[j] * product;
    }
}
