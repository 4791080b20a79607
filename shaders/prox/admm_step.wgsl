// Between two projections of ADMM: dual step, right-hand side of the next solve, and room for its result.
// With the scaled dual u = ratio * (z - d), ratio = old rho / new rho: right = b + rho * (d - u); z = u.
// The solve then adds right * (H + rho I)^-1 to z. Reads b, d and z once, writes right and z once.
#import index

struct Params {
    count: u32,
    rho: f32,
    ratio: f32,
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> b: array<f32>; // [count]
@group(0) @binding(2) var<storage, read> d: array<f32>; // [count]
@group(0) @binding(3) var<storage, read_write> z: array<f32>; // [count]
@group(0) @binding(4) var<storage, read_write> right: array<f32>; // [count]

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
    let u = params.ratio * (z[i] - d[i]);
    right[i] = b[i] + params.rho * (d[i] - u);
    z[i] = u;
}
