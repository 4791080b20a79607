// Projection on N:M sparsity: keeps the `keep` largest |v| of every `group` consecutive elements, among the free ones.
// out = v where kept, else 0; support = 1 where kept, else 0. Ties go to the lower index.
// One invocation per element counts the elements of its group that beat it. Reads v and free once from memory, `group`
// times from the cache; writes out and support once.
#import index

struct Params {
    count: u32, // elements in all, a multiple of group
    keep: u32,
    group: u32,
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> v: array<u32>; // [count], bits of f32
@group(0) @binding(2) var<storage, read> is_free: array<f32>; // [count], 0: never kept
@group(0) @binding(3) var<storage, read_write> out: array<u32>; // [count], bits of f32
@group(0) @binding(4) var<storage, read_write> support: array<f32>; // [count]

const THREADS: u32 = 256u;

// Order of magnitudes: the bits without the sign. NaN is largest.
fn magnitude(i: u32) -> u32 {
    return v[i] << 1u;
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
    let first = i - i % params.group;
    let mine = magnitude(i);
    var better = 0u;
    for (var j = first; j < first + params.group; j++) {
        let other = magnitude(j);
        if is_free[j] != 0.0 && (other > mine || (other == mine && j < i)) {
            better++;
        }
    }
    let kept = is_free[i] != 0.0 && better < params.keep;
    out[i] = select(0u, v[i], kept);
    support[i] = select(0.0, 1.0, kept);
}
