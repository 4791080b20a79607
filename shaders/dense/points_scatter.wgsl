// Values with a factor, to scattered places of a window of rows of a matrix: the opposite of points_gather.
// x[places[i] - offset] = scale[i] * values[i] where that lies in the window. The host promises that no place occurs
// twice, so no two invocations write one element. Reads places, scale and values once, writes the elements once.
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
@group(0) @binding(3) var<storage, read> values: array<f32>; // [count]
@group(0) @binding(4) var<storage, read_write> x: array<f32>; // [size], rows of a row-major matrix

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
    let at = places[i] - params.offset;
    if at < params.size {
        x[at] = scale[i] * values[i];
    }
}
