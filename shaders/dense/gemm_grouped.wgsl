// Up to three matrix products with one left operand in one launch, as of q, k and v: product_i = a * op(b_i), b_i stored
// as f32, f16 or bf16, op(b) = b (B_LAYOUT 0) or its transpose (1). An absent part has no columns.
// Reads a and b_i once per tile of a product; accumulates in f32, k ascending.
#import half
#import tile

struct Params {
    rows: u32,
    inner: u32,
    first: u32,
    cols0: u32,
    cols1: u32,
    cols2: u32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>; // [>= first + rows, inner] row-major
@group(0) @binding(2) var<storage, read> b0: array<u32>; // [inner, cols] (B_LAYOUT 0) or [cols, inner] (1), B_FORMAT
@group(0) @binding(3) var<storage, read> b1: array<u32>; // [inner, cols] or [cols, inner], as b0
@group(0) @binding(4) var<storage, read> b2: array<u32>; // [inner, cols] or [cols, inner], as b0
@group(0) @binding(5) var<storage, read_write> product0: array<f32>; // [>= first + rows, cols] row-major
@group(0) @binding(6) var<storage, read_write> product1: array<f32>; // [>= first + rows, cols] row-major
@group(0) @binding(7) var<storage, read_write> product2: array<f32>; // [>= first + rows, cols] row-major

const A_ALONG_K: bool = true;
const B_ALONG_K: bool = B_LAYOUT == 1u;
const B_SHORT: bool = B_FORMAT != 0u; // at most 11 bits of precision

// The product that this workgroup has a tile of, and its columns.
var<private> part: u32;
var<private> cols: u32;

fn load_a(row: u32, k: u32) -> f32 {
    if row >= params.rows || k >= params.inner {
        return 0.0;
    }
    return a[(params.first + row) * params.inner + k];
}

fn load_b(k: u32, col: u32) -> f32 {
    if k >= params.inner || col >= cols {
        return 0.0;
    }
    let index = select(k * cols + col, col * params.inner + k, B_ALONG_K);
    let at = half_word(B_FORMAT, index);
    var word = 0u;
    switch part {
        case 0u: { word = b0[at]; }
        case 1u: { word = b1[at]; }
        default: { word = b2[at]; }
    }
    return half_value(B_FORMAT, word, index);
}

fn finish(row: u32, col: u32, value: vec4<f32>) {
    if row >= params.rows {
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        let c = col + i * COL_STEP;
        if c < cols {
            let at = (params.first + row) * cols + c;
            switch part {
                case 0u: { product0[at] = value[i]; }
                case 1u: { product1[at] = value[i]; }
                default: { product2[at] = value[i]; }
            }
        }
    }
}

@compute @workgroup_size(TILE_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let groups0 = (params.cols0 + TILE_COLS - 1u) / TILE_COLS;
    let groups1 = (params.cols1 + TILE_COLS - 1u) / TILE_COLS;
    var column = group.x;
    part = 0u;
    cols = params.cols0;
    if column >= groups0 {
        column -= groups0;
        part = 1u;
        cols = params.cols1;
        if column >= groups1 {
            column -= groups1;
            part = 2u;
            cols = params.cols2;
        }
    }
    let row0 = group.y * TILE_ROWS;
    let col0 = column * TILE_COLS;
    tile_product(lane, row0, col0, params.inner);
    tile_finish(lane, row0, col0);
}
