// Adds a row to every row, in place: a bias.
// x[i, j] += row[j]. Reads and writes x once; the row comes from the cache.
#import index

struct Params {
    rows: u32,
    cols: u32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> row: array<f32>; // [cols]
@group(0) @binding(2) var<storage, read_write> x: array<f32>; // [rows, cols] row-major

const THREADS: u32 = 256u;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_group(group, groups) * THREADS + lane;
    if i < params.rows * params.cols {
        x[i] += row[i % params.cols];
    }
}
