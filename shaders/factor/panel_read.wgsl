// Gathers rows of a symmetric matrix of which the upper triangle is stored in panels of rows, one panel at a time.
// rows[r, c] = x[min(g, c), max(g, c)] with g = row + r where that lies in the panel and c >= first_col; 0 where c < first_col.
// Writes what it finds of rows once, reads as much; columns before the diagonal are read across rows.
#import index

struct Params {
    count: u32, // rows gathered
    cols: u32,
    row: u32, // first of them
    first: u32, // first row of the panel
    height: u32,
    first_col: u32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [height, cols] row-major
@group(0) @binding(2) var<storage, read_write> rows: array<f32>; // [count, cols] row-major

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
    if c < params.first_col {
        rows[i] = 0.0;
    } else if low >= params.first && low < params.first + params.height {
        rows[i] = x[(low - params.first) * params.cols + max(g, c)];
    }
}
