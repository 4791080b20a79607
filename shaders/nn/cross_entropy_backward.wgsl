// Gradient of the cross entropy with respect to one vocabulary tile of logits, in place.
// logits = factor (exp(logit - max) / sum - [id = target]) per row, (max, sum, ..) the final state of nn/cross_entropy;
// 0 where there is no target (u32::MAX) or the factor is 0, whatever the logits are.
// Reads and writes the tile once, target, factor and state once per element. One invocation per element.
#import index

struct Params {
    rows: u32,
    cols: u32,
    first_col: u32, // vocabulary id of column 0
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: array<f32>; // [rows, 4] row-major
@group(0) @binding(2) var<storage, read> targets: array<u32>; // [rows]
@group(0) @binding(3) var<storage, read> factors: array<f32>; // [rows]
@group(0) @binding(4) var<storage, read_write> logits: array<f32>; // [rows, cols] row-major

const THREADS: u32 = 64u;
const NO_TARGET: u32 = 0xffffffffu;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_group(group, groups) * THREADS + lane;
    if index >= params.rows * params.cols {
        return;
    }
    let row = index / params.cols;
    let target_id = targets[row];
    let factor = factors[row];
    if target_id == NO_TARGET || factor == 0.0 {
        logits[index] = 0.0;
        return;
    }
    var value = exp(logits[index] - state[4u * row]) / state[4u * row + 1u];
    if params.first_col + index % params.cols == target_id {
        value -= 1.0;
    }
    logits[index] = factor * value;
}
