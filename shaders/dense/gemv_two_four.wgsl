// Matrix with at most two of every four weights along a row times a vector, one workgroup per row.
// y[i] = sum over groups g of v[i, g, 0] x[4 g + p0] + v[i, g, 1] x[4 g + p1]. Reads the kept weights (half the row) and
// four bits of places per group once; x comes from the cache.
// Sums in f32: one strided sum per lane, then pairwise.
#import half
#import index
#import reduce

struct Params {
    rows: u32,
    groups: u32, // of four columns in a row
    words: u32, // of places in a row
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<u32>; // [rows, 2 * groups] row-major, FORMAT
@group(0) @binding(2) var<storage, read> places: array<u32>; // [rows, words], 4 bits per group, the first lowest
@group(0) @binding(3) var<storage, read> x: array<f32>; // [4 * groups]
@group(0) @binding(4) var<storage, read_write> y: array<f32>; // [rows]

const GROUPS_PER_WORD: u32 = 8u;

@compute @workgroup_size(REDUCE_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_group(group, groups);
    var sum = 0.0;
    if row < params.rows {
        for (var g = lane; g < params.groups; g += REDUCE_SIZE) {
            let word = places[row * params.words + g / GROUPS_PER_WORD];
            let place = word >> (4u * (g % GROUPS_PER_WORD));
            let at = 2u * (row * params.groups + g);
            let first = half_value(FORMAT, values[half_word(FORMAT, at)], at);
            let second = half_value(FORMAT, values[half_word(FORMAT, at + 1u)], at + 1u);
            sum += first * x[4u * g + (place & 3u)] + second * x[4u * g + ((place >> 2u) & 3u)];
        }
    }
    let total = workgroup_sum(lane, sum);
    if row < params.rows && lane == 0u {
        y[row] = total;
    }
}
