// One step of the power iteration, after y = H x with |x| = 1.
// state = (x.y, |y|, |y - (x.y) x|, 0): the Rayleigh quotient, and how far x is from an eigenvector; then x = y / |y|,
// unless y is zero. Reads x and y three times, in one workgroup. Sums in f32: one strided sum per lane, then pairwise.
#import reduce

struct Params {
    size: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>; // [size]
@group(0) @binding(2) var<storage, read_write> x: array<f32>; // [size]
@group(0) @binding(3) var<storage, read_write> state: array<f32>; // [4]

@compute @workgroup_size(REDUCE_SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
    var xy = 0.0;
    var yy = 0.0;
    for (var i = lane; i < params.size; i += REDUCE_SIZE) {
        xy += x[i] * y[i];
        yy += y[i] * y[i];
    }
    let rayleigh = workgroup_sum(lane, xy);
    let norm = sqrt(workgroup_sum(lane, yy));
    var squares = 0.0;
    for (var i = lane; i < params.size; i += REDUCE_SIZE) {
        let d = y[i] - rayleigh * x[i];
        squares += d * d;
        if norm > 0.0 {
            x[i] = y[i] / norm;
        }
    }
    let residual = sqrt(workgroup_sum(lane, squares));
    if lane == 0u {
        state[0] = rayleigh;
        state[1] = norm;
        state[2] = residual;
        state[3] = 0.0;
    }
}
