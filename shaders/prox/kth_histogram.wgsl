// Radix select, pass over the elements: counts one 8-bit digit of the keys in every segment of a matrix.
// key = (magnitude of v, index inside the segment reversed), so ties go to the lower index. Counted are the free
// elements whose higher digits equal those already chosen (state). histogram[segment, digit] += count.
// Reads v and free once; counts in workgroup memory first. A workgroup serves one piece of one segment.
#import index

struct Params {
    cols: u32, // columns of the matrix
    height: u32, // rows of a segment inside this window of rows
    width: u32, // columns of a segment; the last one across may be narrower
    segments: u32, // segments that the window touches
    base: u32, // index inside its segment of the window's first element
    last: u32, // largest index inside a segment
    by_index: u32, // 0: a digit of the magnitude; 1: of the reversed index, among equal magnitudes
    shift: u32, // lowest bit of the digit
    above: u32, // mask of the bits above the digit
    pieces: u32, // workgroups per segment
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> v: array<u32>; // [rows, cols] row-major, bits of f32
@group(0) @binding(2) var<storage, read> is_free: array<f32>; // [rows, cols] row-major, 0: does not take part
@group(0) @binding(3) var<storage, read> state: array<u32>; // [segments, 4]: magnitude, reversed index, rank, unused
@group(0) @binding(4) var<storage, read_write> histogram: array<atomic<u32>>; // [segments, BINS]

const THREADS: u32 = 256u;
const BINS: u32 = 256u;

var<workgroup> sh_bins: array<atomic<u32>, BINS>;

fn count(segment: u32, element: u32) {
    let across = (params.cols + params.width - 1u) / params.width;
    let row = segment / across * params.height + element / params.width;
    let col = segment % across * params.width + element % params.width;
    if col >= params.cols {
        return;
    }
    let at = row * params.cols + col;
    // NaN is largest.
    var key = v[at] << 1u;
    var known = state[4u * segment];
    if is_free[at] == 0.0 || (params.by_index == 1u && key != known) {
        return;
    }
    if params.by_index == 1u {
        key = params.last - params.base - element;
        known = state[4u * segment + 1u];
    }
    if ((key ^ known) & params.above) == 0u {
        atomicAdd(&sh_bins[(key >> params.shift) % BINS], 1u);
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = linear_group(group, groups);
    let segment = number / params.pieces;
    let piece = number % params.pieces;
    for (var bin = lane; bin < BINS; bin += THREADS) {
        atomicStore(&sh_bins[bin], 0u);
    }
    workgroupBarrier();
    if segment < params.segments {
        for (var i = piece * THREADS + lane; i < params.height * params.width; i += params.pieces * THREADS) {
            count(segment, i);
        }
    }
    workgroupBarrier();
    for (var bin = lane; bin < BINS; bin += THREADS) {
        let found = atomicLoad(&sh_bins[bin]);
        if found > 0u {
            atomicAdd(&histogram[segment * BINS + bin], found);
        }
    }
}
