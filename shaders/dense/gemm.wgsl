// General matrix product with an affine epilogue, b stored as f32, f16 or bf16.
// product = alpha * a * op(b) + beta * product, op(b) = b (B_LAYOUT 0) or its transpose (1).
// Reads a and b once per tile of the product; accumulates in f32, k ascending.
#import half
#import tile

struct Params {
    rows: u32,
    cols: u32,
    inner: u32,
    a_start: u32,
    a_stride: u32,
    b_start: u32,
    b_stride: u32,
    out_start: u32,
    out_stride: u32,
    alpha: f32,
    beta: f32,
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>; // [rows, inner] row-major
@group(0) @binding(2) var<storage, read> b: array<u32>; // [inner, cols] (B_LAYOUT 0) or [cols, inner] (1), B_FORMAT
@group(0) @binding(3) var<storage, read_write> product: array<f32>; // [rows, cols] row-major

const A_ALONG_K: bool = true;
const B_ALONG_K: bool = B_LAYOUT == 1u;
const B_SHORT: bool = B_FORMAT != 0u; // at most 11 bits of precision

fn load_a(row: u32, k: u32) -> f32 {
    if row >= params.rows || k >= params.inner {
        return 0.0;
    }
    return a[params.a_start + row * params.a_stride + k];
}

fn load_b(k: u32, col: u32) -> f32 {
    if k >= params.inner || col >= params.cols {
        return 0.0;
    }
    let index = params.b_start + select(k * params.b_stride + col, col * params.b_stride + k, B_ALONG_K);
    return half_value(B_FORMAT, b[half_word(B_FORMAT, index)], index);
}

fn finish(row: u32, col: u32, value: vec4<f32>) {
    if row >= params.rows {
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        let c = col + i * COL_STEP;
        if c < params.cols {
            let at = params.out_start + row * params.out_stride + c;
            var result = params.alpha * value[i];
            // With beta 0 the old contents are not read: they may be anything.
            if params.beta != 0.0 {
                result += params.beta * product[at];
            }
            product[at] = result;
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
