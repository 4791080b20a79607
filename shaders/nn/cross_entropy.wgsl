// Merges the logits of one vocabulary tile into a running state per row, so that [tokens, vocabulary] never exists.
// state = (max, sum of exp(logit - max), logit of the target, id of the max; the first id wins ties);
// first_col 0 starts afresh. nll = max + ln(sum) - target logit.
// Reads the tile twice, the state once. Sums in f32: each lane its columns in ascending order, the 64 lanes as a tree.
#import index
#import reduce

struct Params {
    rows: u32,
    cols: u32,
    first_col: u32, // vocabulary id of column 0
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>; // [rows, cols] row-major
@group(0) @binding(2) var<storage, read> targets: array<u32>; // [rows]
@group(0) @binding(3) var<storage, read_write> state: array<f32>; // [rows, 4] row-major

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
    var largest = LOWEST;
    for (var col = lane; col < cols; col += REDUCE_SIZE) {
        largest = max(largest, logits[start + col]);
    }
    let tile_max = workgroup_max(lane, largest);
    var sum = 0.0;
    var first = LOWEST; // minus the first id that has the maximum: exact below 2^24
    for (var col = lane; col < cols; col += REDUCE_SIZE) {
        let logit = logits[start + col];
        sum += exp(logit - tile_max);
        if logit == tile_max {
            first = max(first, -f32(params.first_col + col));
        }
    }
    let tile_sum = workgroup_sum(lane, sum);
    let tile_id = -workgroup_max(lane, first);

    if lane == 0u && row < params.rows {
        let at = 4u * row;
        if params.first_col == 0u {
            state[at] = tile_max;
            state[at + 1u] = tile_sum;
            state[at + 2u] = 0.0;
            state[at + 3u] = tile_id;
        } else {
            let old_max = state[at];
            let new_max = max(old_max, tile_max);
            state[at] = new_max;
            state[at + 1u] = state[at + 1u] * exp(old_max - new_max) + tile_sum * exp(tile_max - new_max);
            state[at + 3u] = select(state[at + 3u], tile_id, tile_max > old_max);
        }
        // Ids below the tile wrap round to large numbers.
        let target_col = targets[row] - params.first_col;
        if target_col < params.cols {
            state[at + 2u] = logits[start + target_col];
        }
    }
}
