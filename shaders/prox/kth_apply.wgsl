// Radix select, last pass: keeps the free elements whose key reaches the threshold of their segment.
// out = v where kept, else 0; support = 1 where kept, else 0. Reads v and free once, writes out and support once.
#import index

struct Params {
    rows: u32, // rows of this window
    cols: u32,
    height: u32, // rows of a segment inside the window
    width: u32, // columns of a segment; the last one across may be narrower
    base: u32, // index inside its segment of the window's first element
    last: u32, // largest index inside a segment
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> v: array<u32>; // [rows, cols] row-major, bits of f32
@group(0) @binding(2) var<storage, read> is_free: array<f32>; // [rows, cols] row-major, 0: never kept
@group(0) @binding(3) var<storage, read> state: array<u32>; // [segments, 4]: magnitude, reversed index, rank, unused
@group(0) @binding(4) var<storage, read_write> out: array<u32>; // [rows, cols] row-major, bits of f32
@group(0) @binding(5) var<storage, read_write> support: array<f32>; // [rows, cols] row-major

const THREADS: u32 = 256u;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = linear_group(group, groups) * THREADS + lane;
    if at >= params.rows * params.cols {
        return;
    }
    let row = at / params.cols;
    let col = at % params.cols;
    let across = (params.cols + params.width - 1u) / params.width;
    let segment = row / params.height * across + col / params.width;
    let index = params.last - params.base - row % params.height * params.width - col % params.width;
    let magnitude = v[at] << 1u;
    let least = state[4u * segment];
    let reached = magnitude > least || (magnitude == least && index >= state[4u * segment + 1u]);
    // Rank 0: the segment has no free element, or none is wanted.
    let kept = reached && state[4u * segment + 2u] > 0u && is_free[at] != 0.0;
    out[at] = select(0u, v[at], kept);
    support[at] = select(0.0, 1.0, kept);
}
