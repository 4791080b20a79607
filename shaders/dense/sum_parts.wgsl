// Adds the parts of a sum to its total: the end of a Gram whose tokens were summed in parts side by side.
// total += ((part 0 + part 1) + part 2) + ..., in f32, on and above the diagonal if only the upper triangle is wanted.
// Reads every part once, reads and writes the total once. One invocation per element.
#import index

struct Params {
    rows: u32,
    cols: u32,
    parts: u32,
    upper: u32, // 1: leave what is below the diagonal as it is
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>; // [parts, rows, cols]
@group(0) @binding(2) var<storage, read_write> total: array<f32>; // [rows, cols] row-major

const THREADS: u32 = 256u;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let elements = params.rows * params.cols;
    let i = linear_group(group, groups) * THREADS + lane;
    if i >= elements || (params.upper == 1u && i % params.cols < i / params.cols) {
        return;
    }
    var sum = 0.0;
    for (var part = 0u; part < params.parts; part++) {
        sum += parts[part * elements + i];
    }
    total[i] += sum;
}
