// Reduces each row of a matrix to a number, one workgroup per row.
// out[i] = sum over j of a b (MODE 0), of 1 where a is not zero (1), of |a| (2). Reads a once, and b once in mode 0.
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
@group(0) @binding(1) var<storage, read> a: array<f32>; // [rows, cols] row-major
@group(0) @binding(2) var<storage, read> b: array<f32>; // [rows, cols] row-major, read in mode 0 only
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // [rows]

fn term(i: u32) -> f32 {
    if MODE == 0u {
        return a[i] * b[i];
    }
    if MODE == 1u {
        return select(0.0, 1.0, a[i] != 0.0);
    }
    return abs(a[i]);
}

@compute @workgroup_size(REDUCE_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_group(group, groups);
    var sum = 0.0;
    if row < params.rows {
        for (var col = lane; col < params.cols; col += REDUCE_SIZE) {
            sum += term(row * params.cols + col);
        }
    }
    let total = workgroup_sum(lane, sum);
    if row < params.rows && lane == 0u {
        out[row] = total;
    }
}
