// One step of the masked conjugate gradient, each row with its own step length, one workgroup per row.
// alpha = rs / (p . pH); v += alpha p; r -= alpha pH * support; p = r + (|r|^2 / rs) p; rs = |r|^2.
// p is zero off the support. A row stays as it is where rs is not above its floor, the second row of rs, or the curvature
// is not positive: beyond what rounding leaves, directions mean nothing and underflow.
// Reads p and pH twice, r and v once or twice.
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
@group(0) @binding(1) var<storage, read> ph: array<f32>; // [rows, cols] row-major, p H unmasked
@group(0) @binding(2) var<storage, read> support: array<f32>; // [rows, cols] row-major, 0: not a variable
@group(0) @binding(3) var<storage, read_write> v: array<f32>; // [rows, cols] row-major
@group(0) @binding(4) var<storage, read_write> r: array<f32>; // [rows, cols] row-major
@group(0) @binding(5) var<storage, read_write> p: array<f32>; // [rows, cols] row-major
@group(0) @binding(6) var<storage, read_write> rs: array<f32>; // [2, rows] row-major

@compute @workgroup_size(REDUCE_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_group(group, groups);
    // Rows beyond the last have nothing to sum and skip every store.
    let end = select(0u, (row + 1u) * params.cols, row < params.rows);
    let first = row * params.cols + lane;
    var products = 0.0;
    var old = 0.0;
    var floor = 0.0;
    if row < params.rows {
        old = rs[row];
        floor = rs[params.rows + row];
    }
    for (var at = first; at < end; at += REDUCE_SIZE) {
        products += p[at] * ph[at];
    }
    let curvature = workgroup_sum(lane, products);
    let moves = old > floor && curvature > 0.0;
    let alpha = old / curvature;
    var squares = 0.0;
    for (var at = first; at < end && moves; at += REDUCE_SIZE) {
        v[at] += alpha * p[at];
        if support[at] != 0.0 {
            r[at] -= alpha * ph[at];
        }
        squares += r[at] * r[at];
    }
    let next = workgroup_sum(lane, squares);
    for (var at = first; at < end && moves; at += REDUCE_SIZE) {
        p[at] = r[at] + next / old * p[at];
    }
    if lane == 0u && moves {
        rs[row] = next;
    }
}
