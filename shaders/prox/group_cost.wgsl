// Cost of bringing a group of consecutive weights to N:M: the sum of the costs of those that project_nm would remove.
// cost[g] = sum of costs[j] over the group without its `keep` largest among w[j] != 0 (ties: the lower index is kept);
// open[g] = 1 where more than `keep` weights are not zero, else 0.
// One invocation per group. Reads costs and w once from memory, `group` times from the cache; writes both results once.
#import index

struct Params {
    groups: u32,
    keep: u32, // kept per group
    group: u32, // weights per group
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> costs: array<f32>; // [groups * group]
@group(0) @binding(2) var<storage, read> w: array<f32>; // [groups * group], 0: already removed
@group(0) @binding(3) var<storage, read_write> cost: array<f32>; // [groups]
@group(0) @binding(4) var<storage, read_write> is_open: array<f32>; // [groups]

const THREADS: u32 = 256u;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_group(group, groups) * THREADS + lane;
    if i >= params.groups {
        return;
    }
    let first = i * params.group;
    var sum = 0.0;
    var alive = 0u;
    for (var j = first; j < first + params.group; j++) {
        var better = 0u;
        for (var k = first; k < first + params.group; k++) {
            if w[k] != 0.0 && (costs[k] > costs[j] || (costs[k] == costs[j] && k < j)) {
                better++;
            }
        }
        if w[j] != 0.0 {
            alive++;
        }
        if w[j] == 0.0 || better >= params.keep {
            sum += costs[j];
        }
    }
    cost[i] = sum;
    is_open[i] = select(0.0, 1.0, alive > params.keep);
}
