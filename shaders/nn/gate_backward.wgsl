// Gradient of the gated activation of an MLP, in place on its inputs; hidden = act(gate) * up.
// gate = dhidden * up * act'(gate), up = dhidden * act(gate), act chosen by ACT.
// Reads dhidden once, reads and writes gate and up once. One invocation per element.
#import index
#import act_slope

struct Params {
    elements: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dhidden: array<f32>; // [elements]
@group(0) @binding(2) var<storage, read_write> gate: array<f32>; // [elements]
@group(0) @binding(3) var<storage, read_write> up: array<f32>; // [elements]

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
    let value = gate[index];
    let gradient = dhidden[index];
    gate[index] = gradient * up[index] * activation_slope(value);
    up[index] = gradient * activate(value);
}
