// Makes a square matrix symmetric from its upper triangle and scales it, in place.
// x[i, j] = x[j, i] = alpha * x[i, j] for i <= j; what was below the diagonal is not read.
// Reads the upper triangle once and writes all once; a tile goes through workgroup memory so that both writes run along
// rows. A workgroup owns a tile and its mirror image, so no two touch the same element.

struct Params {
    size: u32,
    alpha: f32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>; // [size, size] row-major

const TILE: u32 = 16u;
const PITCH: u32 = TILE + 1u; // keeps columns out of one memory bank

var<workgroup> sh_tile: array<f32, TILE * PITCH>; // [row][col]

@compute @workgroup_size(TILE, TILE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let row0 = group.y * TILE;
    let col0 = group.x * TILE;
    // The choice is the same for the whole workgroup, so the barrier inside stays uniform.
    if group.x >= group.y {
        let row = row0 + local.y;
        let col = col0 + local.x;
        if row <= col && col < params.size {
            let value = params.alpha * x[row * params.size + col];
            x[row * params.size + col] = value;
            sh_tile[local.y * PITCH + local.x] = value;
        }
        workgroupBarrier();
        let low_row = col0 + local.y;
        let low_col = row0 + local.x;
        if low_col < low_row && low_row < params.size {
            x[low_row * params.size + low_col] = sh_tile[local.x * PITCH + local.y];
        }
    }
}
