// Transposes a matrix stored as f32, f16 or bf16 into f32.
// out[j, i] = x[i, j]. Reads x and writes out once; a tile goes through workgroup memory so that both run along rows.
#import half

struct Params {
    rows: u32,
    cols: u32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>; // [rows, cols] row-major, B_FORMAT
@group(0) @binding(2) var<storage, read_write> out: array<f32>; // [cols, rows] row-major

const TILE: u32 = 16u;
const PITCH: u32 = TILE + 1u; // keeps columns out of one memory bank

var<workgroup> sh_tile: array<f32, TILE * PITCH>; // [row][col]

@compute @workgroup_size(TILE, TILE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let row0 = group.y * TILE;
    let col0 = group.x * TILE;
    if row0 + local.y < params.rows && col0 + local.x < params.cols {
        let index = (row0 + local.y) * params.cols + col0 + local.x;
        sh_tile[local.y * PITCH + local.x] = half_value(B_FORMAT, x[half_word(B_FORMAT, index)], index);
    }
    workgroupBarrier();
    let row = row0 + local.x;
    let col = col0 + local.y;
    if row < params.rows && col < params.cols {
        out[col * params.rows + row] = sh_tile[local.x * PITCH + local.y];
    }
}
