// Radix select, pass over the histograms: chooses the next digit of each segment's threshold, one workgroup each.
// The digit is the largest one with at least `rank` elements at or above it; it joins the state, the rank becomes the
// rank inside the digit, the histogram is cleared. The first pass sets the rank to min(keep, number of free elements);
// rank 0 keeps nothing. Reads and writes each histogram once.
#import index

struct Params {
    segments: u32,
    keep: u32, // elements to keep per segment, used by the first pass
    start: u32, // 1: first pass
    by_index: u32, // 0: the digit is one of the magnitude; 1: of the reversed index
    shift: u32, // lowest bit of the digit
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> histogram: array<u32>; // [segments, BINS]
@group(0) @binding(2) var<storage, read_write> state: array<u32>; // [segments, 4]: magnitude, reversed index, rank, -

const THREADS: u32 = 64u;
const BINS: u32 = 256u;
const EACH: u32 = BINS / THREADS; // bins per lane

var<workgroup> sh_count: array<u32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let segment = linear_group(group, groups);
    let inside = segment < params.segments;
    let first = segment * BINS + lane * EACH;
    var mine = 0u;
    var rank = 0u;
    if inside {
        for (var i = 0u; i < EACH; i++) {
            mine += histogram[first + i];
        }
        rank = state[4u * segment + 2u];
    }
    sh_count[lane] = mine;
    workgroupBarrier();
    storageBarrier();
    var higher = 0u; // elements in the bins of higher lanes
    var total = 0u;
    for (var i = 0u; i < THREADS; i++) {
        total += sh_count[i];
        higher += select(0u, sh_count[i], i > lane);
    }
    if params.start == 1u {
        rank = min(params.keep, total);
        if inside && rank == 0u && lane == 0u {
            state[4u * segment] = 0u;
            state[4u * segment + 1u] = 0u;
            state[4u * segment + 2u] = 0u;
        }
    }
    // Exactly one lane holds the digit, if anything is to be kept.
    let owner = rank > higher && rank <= higher + mine;
    if inside {
        var above = higher;
        for (var i = EACH; i > 0u; i--) {
            let found = histogram[first + i - 1u];
            histogram[first + i - 1u] = 0u;
            if owner && rank > above && rank <= above + found {
                let digit = (lane * EACH + i - 1u) << params.shift;
                var magnitude = state[4u * segment];
                var index = state[4u * segment + 1u];
                if params.start == 1u {
                    magnitude = 0u;
                    index = 0u;
                }
                state[4u * segment] = magnitude | select(digit, 0u, params.by_index == 1u);
                state[4u * segment + 1u] = index | select(0u, digit, params.by_index == 1u);
                state[4u * segment + 2u] = rank - above;
            }
            above += found;
        }
    }
}
