// Removes weights of one block of columns one by one, in every row the one that costs least beside those removed before.
// With R what is removed of a row so far, the row's error is R G R^T; taking w_j as well adds
// cost_j = w_j^2 G_jj + 2 w_j sum_i R_i G_ij, where `before` holds the sum over columns outside the block.
// One workgroup per ROWS rows, one invocation per column; ties by lower index. Reads the block's columns of w and before
// once and one row of G per removal and row, writes the block's columns of removed. Terms are added in order of removal.
#import index

struct Params {
    rows: u32,
    cols: u32,
    first: u32, // first column of the block
    width: u32, // columns of the block, at most COLS
    count: u32, // removed of a row, at most width
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gram: array<f32>; // [width, cols] row-major, row j is row first + j of G
@group(0) @binding(2) var<storage, read> w: array<f32>; // [rows, cols] row-major
@group(0) @binding(3) var<storage, read> before: array<f32>; // [rows, cols] row-major
@group(0) @binding(4) var<storage, read_write> removed: array<f32>; // [rows, cols] row-major, the block's columns: w or 0

const COLS: u32 = 128u; // invocations, one per column
const ROWS: u32 = 4u; // rows of a workgroup, in a vec4
const GONE: f32 = 3.0e38; // cost of what is removed already or not there

var<workgroup> sh_cost: array<vec4<f32>, COLS>;
var<workgroup> sh_column: array<vec4<u32>, COLS>;
var<workgroup> sh_w: array<vec4<f32>, COLS>;

@compute @workgroup_size(COLS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_group(group, groups) * ROWS;
    let inside = lane < params.width;
    var weight = vec4<f32>();
    var linear = vec4<f32>();
    var diagonal = 0.0;
    if inside {
        diagonal = gram[lane * params.cols + params.first + lane];
        for (var i = 0u; i < ROWS; i++) {
            if row + i < params.rows {
                weight[i] = w[(row + i) * params.cols + params.first + lane];
                linear[i] = before[(row + i) * params.cols + params.first + lane];
            }
        }
    }
    var cost = weight * weight * diagonal + 2.0 * weight * linear;
    var gone = vec4<bool>(!inside);
    sh_w[lane] = weight;
    for (var step = 0u; step < params.count; step++) {
        sh_cost[lane] = select(cost, vec4<f32>(GONE), gone);
        sh_column[lane] = vec4<u32>(lane);
        workgroupBarrier();
        for (var half = COLS / 2u; half > 0u; half /= 2u) {
            if lane < half {
                let cheaper = sh_cost[lane + half] < sh_cost[lane];
                let tied = (sh_cost[lane + half] == sh_cost[lane]) & (sh_column[lane + half] < sh_column[lane]);
                sh_column[lane] = select(sh_column[lane], sh_column[lane + half], cheaper | tied);
                sh_cost[lane] = select(sh_cost[lane], sh_cost[lane + half], cheaper | tied);
            }
            workgroupBarrier();
        }
        let taken = sh_column[0];
        gone = gone | (taken == vec4<u32>(lane));
        if inside {
            for (var i = 0u; i < ROWS; i++) {
                let factor = gram[taken[i] * params.cols + params.first + lane];
                cost[i] += 2.0 * weight[i] * sh_w[taken[i]][i] * factor;
            }
        }
        workgroupBarrier();
    }
    if inside {
        for (var i = 0u; i < ROWS; i++) {
            if row + i < params.rows {
                removed[(row + i) * params.cols + params.first + lane] = select(0.0, weight[i], gone[i]);
            }
        }
    }
}
