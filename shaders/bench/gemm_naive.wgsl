// The product as first written down, for the tuned kernels to be held against: one invocation per element.
// product = a * b. Reads a row of a and a column of b per element, through the cache; sums in f32, k ascending.

struct Params {
    rows: u32, // row where this dispatch ends
    cols: u32,
    inner: u32,
    first_row: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>; // [rows, inner] row-major
@group(0) @binding(2) var<storage, read> b: array<f32>; // [inner, cols] row-major
@group(0) @binding(3) var<storage, read_write> product: array<f32>; // [rows, cols] row-major

const TILE: u32 = 16u;

@compute @workgroup_size(TILE, TILE)
fn main(@builtin(global_invocation_id) place: vec3<u32>) {
    let row = params.first_row + place.y;
    let col = place.x;
    if row >= params.rows || col >= params.cols {
        return;
    }
    var sum = 0.0;
    for (var k = 0u; k < params.inner; k++) {
        sum += a[row * params.inner + k] * b[k * params.cols + col];
    }
    product[row * params.cols + col] = sum;
}
