// Tree reductions over one workgroup of REDUCE_SIZE invocations. Every invocation must call them (they hold barriers).

const REDUCE_SIZE: u32 = 64u;
var<workgroup> sh_reduce: array<f32, REDUCE_SIZE>;

// Sum of `value` over the workgroup, for every invocation. Pairwise order.
fn workgroup_sum(lane: u32, value: f32) -> f32 {
    sh_reduce[lane] = value;
    workgroupBarrier();
    for (var span = REDUCE_SIZE / 2u; span > 0u; span /= 2u) {
        if lane < span {
            sh_reduce[lane] += sh_reduce[lane + span];
        }
        workgroupBarrier();
    }
    let total = sh_reduce[0];
    workgroupBarrier();
    return total;
}

// Largest `value` over the workgroup, for every invocation.
fn workgroup_max(lane: u32, value: f32) -> f32 {
    sh_reduce[lane] = value;
    workgroupBarrier();
    for (var span = REDUCE_SIZE / 2u; span > 0u; span /= 2u) {
        if lane < span {
            sh_reduce[lane] = max(sh_reduce[lane], sh_reduce[lane + span]);
        }
        workgroupBarrier();
    }
    let largest = sh_reduce[0];
    workgroupBarrier();
    return largest;
}
