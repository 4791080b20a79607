// Inverse Cholesky factor of one diagonal block: A = sign * block = L L^T, inverse = L^-1, transposed = L^-T.
// L by columns, then each column of L^-1 by forward substitution. A pivot that is not above `floor` counts as failed,
// is replaced by 1 and makes the result worthless: state = (failed pivots, 1 + index of the first). One workgroup, L
// packed in workgroup memory. Reads the lower triangle of the block once, writes both results once. Sums in f32.

struct Params {
    size: u32, // at most BLOCK
    start: u32, // first element of the block
    stride: u32,
    index: u32, // of the first row in the whole matrix, for the state
    sign: f32,
    floor: f32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>; // [.., stride] row-major
@group(0) @binding(2) var<storage, read_write> inverse: array<f32>; // [size, size] row-major
@group(0) @binding(3) var<storage, read_write> transposed: array<f32>; // [size, size] row-major
@group(0) @binding(4) var<storage, read_write> state: array<f32>; // [2]

const BLOCK: u32 = 64u;
const PACKED: u32 = BLOCK * (BLOCK + 1u) / 2u;
var<workgroup> sh_factor: array<f32, PACKED>;

fn packed(row: u32, col: u32) -> u32 {
    return row * (row + 1u) / 2u + col;
}

// Column j of row i, less what the columns before explain.
fn remainder(i: u32, j: u32) -> f32 {
    var sum = sh_factor[packed(i, j)];
    for (var k = 0u; k < j; k++) {
        sum -= sh_factor[packed(i, k)] * sh_factor[packed(j, k)];
    }
    return sum;
}

// Column j of L^-1; each invocation reads back only what it wrote itself.
fn invert_column(j: u32) {
    let size = params.size;
    for (var i = 0u; i < size; i++) {
        var value = 0.0;
        if i == j {
            value = 1.0;
        }
        for (var k = j; k < i; k++) {
            value -= sh_factor[packed(i, k)] * inverse[k * size + j];
        }
        if i < j {
            value = 0.0;
        }
        value /= sh_factor[packed(i, i)];
        inverse[i * size + j] = value;
        transposed[j * size + i] = value;
    }
}

@compute @workgroup_size(BLOCK)
fn main(@builtin(local_invocation_index) lane: u32) {
    if lane < params.size {
        for (var j = 0u; j <= lane; j++) {
            sh_factor[packed(lane, j)] = params.sign * a[params.start + lane * params.stride + j];
        }
    }
    workgroupBarrier();
    for (var j = 0u; j < params.size; j++) {
        if lane == j {
            let pivot = remainder(j, j);
            // Not above also holds for NaN.
            if !(pivot > params.floor) {
                if state[0] == 0.0 {
                    state[1] = f32(params.index + j + 1u);
                }
                state[0] += 1.0;
                sh_factor[packed(j, j)] = 1.0;
            } else {
                sh_factor[packed(j, j)] = sqrt(pivot);
            }
        }
        workgroupBarrier();
        if lane > j && lane < params.size {
            sh_factor[packed(lane, j)] = remainder(lane, j) / sh_factor[packed(j, j)];
        }
        workgroupBarrier();
    }
    if lane < params.size {
        invert_column(lane);
    }
}
