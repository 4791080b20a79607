// Scattered elements of a matrix, each with a factor, from one window of its rows (the matrix may not fit a binding).
// out[i] = scale[i] * x[places[i] - offset] where that lies in the window; other elements of out stay as they are.
// Reads places, scale and the elements once, writes as much of out once.
#import index

struct Params {
    count: u32, // places
    offset: u32, // place of the window's first element
    size: u32, // elements of the window
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> places: array<u32>; // [count]: row * columns + column
@group(0) @binding(2) var<storage, read> scale: array<f32>; // [count]
@group(0) @binding(3) var<storage, read> x: array<f32>; // [size], rows of a row-major matrix
@group(0) @binding(4) var<storage, read_write> out: array<f32>; // [count]

const THREADS: u32 = 256u;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_group(group, groups) * THREADS + lane;
    if i >= params.count {
        return;
    }
    // Below the window the difference wraps round to a large number.
    let at = places[i] - params.offset;
    if at < params.size {
        out[i] = scale[i] * x[at];
    }
}
