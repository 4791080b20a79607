// Counts costs by their leading bits: 8 of the exponent and 8 of the mantissa, so bins are 0.4 % wide.
// histogram[bits(cost[i]) >> 15] += 1 for the elements with w[i] != 0 (costs are not negative).
// Reads cost and w once; one atomic addition per element, spread over as many bins as the costs have.
#import index

struct Params {
    count: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> cost: array<u32>; // [count], bits of f32
@group(0) @binding(2) var<storage, read> w: array<f32>; // [count], 0: not counted
@group(0) @binding(3) var<storage, read_write> histogram: array<atomic<u32>>; // [65536]

const THREADS: u32 = 256u;
const SHIFT: u32 = 15u;

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
    if w[i] != 0.0 {
        atomicAdd(&histogram[(cost[i] & 0x7fffffffu) >> SHIFT], 1u);
    }
}
