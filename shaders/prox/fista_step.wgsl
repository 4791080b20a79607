// One FISTA iteration of min_V 1/2 V H V^T - B V^T + lambda |V|_1 on the free elements, fused with its matrix product.
// v = y - step * (y H - b); x' = sign(v) max(|v| - threshold, 0) * free; y' = x' + momentum * (x' - x); x = x'.
// Reads y and h once per tile; b, free, x and y' once. Accumulates in f32, k ascending.
// H may come in panels of rows: the caller adds the earlier panels' products into y' and sets `accumulate`.
#import tile

struct Params {
    rows: u32,
    cols: u32,
    inner: u32, // rows of the panel of h
    start: u32, // first element of all [rows, cols] matrices
    y_col: u32, // first column of y that meets the panel
    accumulate: u32, // 1: y_next holds the earlier panels' products
    step: f32,
    threshold: f32,
    momentum: f32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>; // [rows, cols] row-major
@group(0) @binding(2) var<storage, read> h: array<f32>; // [inner, cols] row-major
@group(0) @binding(3) var<storage, read> b: array<f32>; // [rows, cols] row-major
@group(0) @binding(4) var<storage, read> is_free: array<f32>; // [rows, cols] row-major, 0: must stay zero
@group(0) @binding(5) var<storage, read_write> x: array<f32>; // [rows, cols] row-major
@group(0) @binding(6) var<storage, read_write> y_next: array<f32>; // [rows, cols] row-major

const A_ALONG_K: bool = true;
const B_ALONG_K: bool = false;
const B_SHORT: bool = false;

fn load_a(row: u32, k: u32) -> f32 {
    if row >= params.rows || k >= params.inner {
        return 0.0;
    }
    return y[params.start + row * params.cols + params.y_col + k];
}

fn load_b(k: u32, col: u32) -> f32 {
    if k >= params.inner || col >= params.cols {
        return 0.0;
    }
    return h[k * params.cols + col];
}

fn finish(row: u32, col: u32, value: vec4<f32>) {
    if row >= params.rows {
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        let c = col + i * COL_STEP;
        if c < params.cols {
            let at = params.start + row * params.cols + c;
            var product = value[i];
            if params.accumulate == 1u {
                product += y_next[at];
            }
            var next = 0.0;
            if is_free[at] != 0.0 {
                let v = y[at] - params.step * (product - b[at]);
                // Zeros come out positive this way.
                next = v - clamp(v, -params.threshold, params.threshold);
            }
            y_next[at] = next + params.momentum * (next - x[at]);
            x[at] = next;
        }
    }
}

@compute @workgroup_size(TILE_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row0 = group.y * TILE_ROWS;
    let col0 = group.x * TILE_COLS;
    tile_product(lane, row0, col0, params.inner);
    tile_finish(lane, row0, col0);
}
