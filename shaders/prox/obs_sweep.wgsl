// SparseGPT's sweep over one block of columns: prunes them from left to right and lets those to the right make up for it.
// err_j = (v_j - q_j) / U_jj, q_j = v_j where kept, else 0; v_k -= err_j U_jk for k > j inside the block; then v = q.
// With group > 1 every `group` columns choose their `keep` largest |v_j / U_jj| among the allowed ones when the sweep
// reaches them, ties by lower index; with group 1 all allowed ones are kept.
// One workgroup per ROWS rows, one invocation per column, which keeps its column of them in registers. Reads U once per
// workgroup, v and allowed once; writes v, support and err once. Terms are subtracted one by one, j ascending.
#import index

struct Params {
    rows: u32,
    cols: u32,
    first: u32, // first column of the block
    width: u32, // columns of the block, at most COLS
    keep: u32,
    group: u32, // divides width
    allowed_first: u32, // column of `allowed` that belongs to the block's first
    allowed_cols: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> u: array<f32>; // [width, cols] row-major, row j is row first + j of U
@group(0) @binding(2) var<storage, read> allowed: array<f32>; // [rows, allowed_cols] row-major, 0: never kept
@group(0) @binding(3) var<storage, read_write> v: array<f32>; // [rows, cols] row-major, the block's columns change
@group(0) @binding(4) var<storage, read_write> support: array<f32>; // [rows, cols] row-major, the block's columns
@group(0) @binding(5) var<storage, read_write> err: array<f32>; // [rows, width] row-major

const COLS: u32 = 128u; // invocations, one per column
const ROWS: u32 = 8u; // rows of a workgroup, in a low and a high vec4

var<workgroup> sh_err: array<vec4<f32>, 4>; // [step % 2][low, high]: a step writes what the one before does not read
var<workgroup> sh_low: array<vec4<f32>, COLS>; // scores of the rows in the low vec4, -1: not allowed
var<workgroup> sh_high: array<vec4<f32>, COLS>;

fn load_v(row: u32, lane: u32) -> vec4<f32> {
    var values = vec4<f32>();
    for (var i = 0u; i < 4u; i++) {
        if row + i < params.rows && lane < params.width {
            values[i] = v[(row + i) * params.cols + params.first + lane];
        }
    }
    return values;
}

fn load_allowed(row: u32, lane: u32) -> vec4<bool> {
    var values = vec4<bool>();
    for (var i = 0u; i < 4u; i++) {
        if row + i < params.rows && lane < params.width {
            values[i] = allowed[(row + i) * params.allowed_cols + params.allowed_first + lane] != 0.0;
        }
    }
    return values;
}

fn store(row: u32, lane: u32, values: vec4<f32>, kept: vec4<bool>, errors: vec4<f32>) {
    for (var i = 0u; i < 4u; i++) {
        if row + i < params.rows && lane < params.width {
            let at = (row + i) * params.cols + params.first + lane;
            v[at] = select(0.0, values[i], kept[i]);
            support[at] = select(0.0, 1.0, kept[i]);
            err[(row + i) * params.width + lane] = errors[i];
        }
    }
}

// 1 where `other`, the score of column i, comes before `mine` of column `lane`.
fn beats(other: vec4<f32>, mine: vec4<f32>, i: u32, lane: u32) -> vec4<u32> {
    return select(vec4<u32>(), vec4<u32>(1u), (other > mine) | ((other == mine) & vec4<bool>(i < lane)));
}

@compute @workgroup_size(COLS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_group(group, groups) * ROWS;
    var low = load_v(row, lane);
    var high = load_v(row + 4u, lane);
    var kept_low = load_allowed(row, lane);
    var kept_high = load_allowed(row + 4u, lane);
    var err_low = vec4<f32>();
    var err_high = vec4<f32>();
    var diagonal = 1.0;
    if lane < params.width {
        diagonal = u[lane * params.cols + params.first + lane];
    }
    for (var j = 0u; j < params.width; j++) {
        if params.group > 1u && j % params.group == 0u {
            let choosing = lane >= j && lane < j + params.group;
            if choosing {
                sh_low[lane] = select(vec4<f32>(-1.0), abs(low / diagonal), kept_low);
                sh_high[lane] = select(vec4<f32>(-1.0), abs(high / diagonal), kept_high);
            }
            workgroupBarrier();
            if choosing {
                var better_low = vec4<u32>();
                var better_high = vec4<u32>();
                for (var i = j; i < j + params.group; i++) {
                    better_low += beats(sh_low[i], sh_low[lane], i, lane);
                    better_high += beats(sh_high[i], sh_high[lane], i, lane);
                }
                kept_low = kept_low & (better_low < vec4<u32>(params.keep));
                kept_high = kept_high & (better_high < vec4<u32>(params.keep));
            }
        }
        let slot = 2u * (j % 2u);
        if lane == j {
            err_low = select(low / diagonal, vec4<f32>(), kept_low);
            err_high = select(high / diagonal, vec4<f32>(), kept_high);
            sh_err[slot] = err_low;
            sh_err[slot + 1u] = err_high;
        }
        workgroupBarrier();
        if lane > j && lane < params.width {
            let factor = u[j * params.cols + params.first + lane];
            low -= factor * sh_err[slot];
            high -= factor * sh_err[slot + 1u];
        }
    }
    store(row, lane, low, kept_low, err_low);
    store(row + 4u, lane, high, kept_high, err_high);
}
