// The gated activation of an MLP, in place on the gate.
// gate = act(gate) * up, act chosen by ACT.
// Reads up and gate once, writes gate once. One invocation per element.
#import index
#import act

struct Params {
    elements: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> up: array<f32>; // [elements]
@group(0) @binding(2) var<storage, read_write> gate: array<f32>; // [elements]

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
    gate[index] = activate(gate[index]) * up[index];
}
