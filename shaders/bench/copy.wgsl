// Measures how fast a device moves memory: one quad per lane, neighbouring lanes on neighbouring quads.
// out = x, elementwise. Reads x once, writes out once.
#import index

struct Params {
    quads: u32, // groups of four elements
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>; // [quads] of four elements
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>; // [quads] of four elements

const THREADS: u32 = 256u;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_group(group, groups) * THREADS + lane;
    if i < params.quads {
        out[i] = x[i];
    }
}
