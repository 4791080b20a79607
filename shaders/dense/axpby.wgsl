// Sum of two scaled arrays, in place.
// y = alpha * x + beta * y; with beta 0 the old y is not read, it may be anything.
// Reads x and y once, writes y once.
#import index

struct Params {
    count: u32,
    alpha: f32,
    beta: f32,
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [count]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [count]

const THREADS: u32 = 256u;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_group(group, groups) * THREADS + lane;
    if i >= params.count {
        return;
    }
    var result = params.alpha * x[i];
    if params.beta != 0.0 {
        result += params.beta * y[i];
    }
    y[i] = result;
}
