// Panel of a matrix times a vector, one workgroup per row.
// y[first + i] = matrix[i, :] . x. Reads the panel once; x comes from the cache.
// Sums in f32: one strided sum per lane, then pairwise.
#import index
#import reduce

struct Params {
    rows: u32,
    cols: u32,
    first: u32, // element of y that belongs to the first row
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> matrix: array<f32>; // [rows, cols] row-major
@group(0) @binding(2) var<storage, read> x: array<f32>; // [cols]
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [>= first + rows]

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
            sum += matrix[row * params.cols + col] * x[col];
        }
    }
    let total = workgroup_sum(lane, sum);
    if row < params.rows && lane == 0u {
        y[params.first + row] = total;
    }
}
