// Gradient of a smooth bound, in place on the gradient.
// dy = dy (1 - tanh^2(x / cap)), x what was bounded; as 4 e / (1 + e)^2 with e = exp(-2 |x| / cap), so that nothing cancels.
// Reads x once, reads and writes dy once. One invocation per element.
#import index

struct Params {
    elements: u32,
    cap: f32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [elements]
@group(0) @binding(2) var<storage, read_write> dy: array<f32>; // [elements]

const THREADS: u32 = 64u;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_group(group, groups) * THREADS + lane;
    if index >= params.elements {
        return;
    }
    let decay = exp(-2.0 * abs(x[index]) / params.cap);
    let sum = 1.0 + decay;
    dy[index] *= 4.0 * decay / (sum * sum);
}
