// Scatters rows into a symmetric matrix of which the upper triangle is stored in panels of rows, one panel at a time:
// the inverse of panel_read. x[min(g, c), max(g, c)] = rows[r, c] with g = row + r; of the block on the diagonal the
// upper triangle counts. Reads rows once, writes what belongs to the panel.
#import index

struct Params {
    count: u32, // rows scattered
    cols: u32,
    row: u32, // first of them
    first: u32, // first row of the panel
    height: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<f32>; // [count, cols] row-major
@group(0) @binding(2) var<storage, read_write> x: array<f32>; // [height, cols] row-major

const THREADS: u32 = 256u;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_group(group, groups) * THREADS + lane;
    if i >= params.count * params.cols {
        return;
    }
    let g = params.row + i / params.cols;
    let c = i % params.cols;
    let low = min(g, c);
    let mine = c >= g || c < params.row;
    if mine && low >= params.first && low < params.first + params.height {
        x[(low - params.first) * params.cols + max(g, c)] = rows[i];
    }
}
