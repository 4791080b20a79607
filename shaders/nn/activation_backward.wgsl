// Gradient of the activation of an MLP without a gate, in place on the gradient.
// dy = dy act'(x), act chosen by ACT, x its input.
// Reads x once, reads and writes dy once. One invocation per element.
#import index
#import act_slope

struct Params {
    elements: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
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
    dy[index] *= activation_slope(x[index]);
}
