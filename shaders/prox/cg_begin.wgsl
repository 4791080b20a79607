// First residual of the masked conjugate gradient for min_V 1/2 V H V^T - B V^T on a support, one workgroup per row.
// r = (b - v H) * support; p = r; rs = |r|^2, and in a second row of rs what that must exceed to be more than rounding:
// FLOOR (|b|^2 + |v H|^2) on the support. Reads each input once, writes r and p once.
// Sums in f32: one strided sum per lane, then pairwise.
#import index
#import reduce

struct Params {
    rows: u32,
    cols: u32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> vh: array<f32>; // [rows, cols] row-major
@group(0) @binding(2) var<storage, read> b: array<f32>; // [rows, cols] row-major
@group(0) @binding(3) var<storage, read> support: array<f32>; // [rows, cols] row-major, 0: not a variable
@group(0) @binding(4) var<storage, read_write> r: array<f32>; // [rows, cols] row-major
@group(0) @binding(5) var<storage, read_write> p: array<f32>; // [rows, cols] row-major
@group(0) @binding(6) var<storage, read_write> rs: array<f32>; // [2, rows] row-major

const FLOOR: f32 = 1.0e-16;
const LEAST: f32 = 1.0e-34; // squares below underflow

@compute @workgroup_size(REDUCE_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_group(group, groups);
    var squares = 0.0;
    var terms = 0.0;
    if row < params.rows {
        for (var col = lane; col < params.cols; col += REDUCE_SIZE) {
            let at = row * params.cols + col;
            let free = support[at] != 0.0;
            let value = select(0.0, b[at] - vh[at], free);
            r[at] = value;
            p[at] = value;
            squares += value * value;
            terms += select(0.0, b[at] * b[at] + vh[at] * vh[at], free);
        }
    }
    let total = workgroup_sum(lane, squares);
    let scale = workgroup_sum(lane, terms);
    if row < params.rows && lane == 0u {
        rs[row] = total;
        rs[params.rows + row] = FLOOR * scale + LEAST;
    }
}
