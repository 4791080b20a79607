// Measures how fast a device can multiply and add: nothing but dependent fused steps on registers.
// out[i] = sum of 32 chains after 4 * rounds steps c = c * factor + step, chain j of lane i beginning at (i % 64 + j) / 64.
// 256 flops per round and lane; writes one number per lane, reads nothing. Sums in f32.
#import index

struct Params {
    count: u32, // lanes
    rounds: u32,
    factor: f32,
    step: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> out: array<f32>; // [count]

const THREADS: u32 = 256u;
const SCALE: f32 = 0.015625;

fn begin(lane: u32, chain: u32) -> vec4<f32> {
    return (vec4(f32(lane % 64u + chain)) + vec4(0.0, 1.0, 2.0, 3.0)) * SCALE;
}

fn four(chain: vec4<f32>, factor: vec4<f32>, step: vec4<f32>) -> vec4<f32> {
    return fma(fma(fma(fma(chain, factor, step), factor, step), factor, step), factor, step);
}

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
    let factor = vec4(params.factor);
    let step = vec4(params.step);
    var c0 = begin(i, 0u);
    var c1 = begin(i, 4u);
    var c2 = begin(i, 8u);
    var c3 = begin(i, 12u);
    var c4 = begin(i, 16u);
    var c5 = begin(i, 20u);
    var c6 = begin(i, 24u);
    var c7 = begin(i, 28u);
    for (var round = 0u; round < params.rounds; round++) {
        c0 = four(c0, factor, step);
        c1 = four(c1, factor, step);
        c2 = four(c2, factor, step);
        c3 = four(c3, factor, step);
        c4 = four(c4, factor, step);
        c5 = four(c5, factor, step);
        c6 = four(c6, factor, step);
        c7 = four(c7, factor, step);
    }
    out[i] = dot(((c0 + c1) + (c2 + c3)) + ((c4 + c5) + (c6 + c7)), vec4(1.0));
}
