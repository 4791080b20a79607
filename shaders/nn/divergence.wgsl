// Merges one vocabulary tile of two models' logits p and q into a running state per row, from which KL(P || Q) follows.
// state = (max p, sum exp(p - max p), max q, sum exp(q - max q), sum exp(p - max p) (p - q), id of max p, of max q, 0);
// first_col 0 starts afresh. KL = state4 / state1 - (state0 + ln state1) + (state2 + ln state3).
// Reads both tiles twice, the state once. Sums in f32: each lane its columns in ascending order, the 64 lanes as a tree.
#import index
#import reduce

struct Params {
    rows: u32,
    cols: u32,
    first_col: u32, // vocabulary id of column 0
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> p: array<f32>; // [rows, cols] row-major
@group(0) @binding(2) var<storage, read> q: array<f32>; // [rows, cols] row-major
@group(0) @binding(3) var<storage, read_write> state: array<f32>; // [rows, 8] row-major

const LOWEST: f32 = -3.0e38;

@compute @workgroup_size(REDUCE_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_group(group, groups);
    let start = row * params.cols;
    // A row out of range has no columns.
    let cols = select(0u, params.cols, row < params.rows);
    var largest = vec2<f32>(LOWEST);
    for (var col = lane; col < cols; col += REDUCE_SIZE) {
        largest = max(largest, vec2<f32>(p[start + col], q[start + col]));
    }
    let top = vec2<f32>(workgroup_max(lane, largest.x), workgroup_max(lane, largest.y));
    var sums = vec2<f32>();
    var cross_sum = 0.0;
    var first = vec2<f32>(LOWEST); // minus the first ids that have the maxima: exact below 2^24
    for (var col = lane; col < cols; col += REDUCE_SIZE) {
        let logits = vec2<f32>(p[start + col], q[start + col]);
        let weights = exp(logits - top);
        sums += weights;
        cross_sum += weights.x * (logits.x - logits.y);
        first = max(first, select(vec2<f32>(LOWEST), vec2<f32>(-f32(params.first_col + col)), logits == top));
    }
    let totals = vec2<f32>(workgroup_sum(lane, sums.x), workgroup_sum(lane, sums.y));
    let total_cross = workgroup_sum(lane, cross_sum);
    let ids = -vec2<f32>(workgroup_max(lane, first.x), workgroup_max(lane, first.y));

    if lane == 0u && row < params.rows {
        let at = 8u * row;
        var old = array<f32, 8>(LOWEST, 0.0, LOWEST, 0.0, 0.0, 0.0, 0.0, 0.0);
        if params.first_col > 0u {
            for (var i = 0u; i < 8u; i++) {
                old[i] = state[at + i];
            }
        }
        let old_top = vec2<f32>(old[0], old[2]);
        let new_top = max(old_top, top);
        let keep = exp(old_top - new_top);
        let scale = exp(top - new_top);
        state[at] = new_top.x;
        state[at + 1u] = old[1] * keep.x + totals.x * scale.x;
        state[at + 2u] = new_top.y;
        state[at + 3u] = old[3] * keep.y + totals.y * scale.y;
        state[at + 4u] = old[4] * keep.x + total_cross * scale.x;
        state[at + 5u] = select(old[5], ids.x, top.x > old_top.x);
        state[at + 6u] = select(old[6], ids.y, top.y > old_top.y);
        state[at + 7u] = 0.0;
    }
}
