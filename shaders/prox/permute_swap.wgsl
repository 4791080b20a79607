// Exchanges one channel between two groups of an N:M pattern where that keeps more energy: one round of a search.
// For each pair (a, b) of groups all size^2 exchanges are tried over all rows. With h the keep-th largest energy of a
// group in a row and l the next, the group without v and with w keeps max(w, v >= h ? l : h) - max(v, h) more. The best
// exchange is made in `order` if it gains more than rounding could; ties go to the lower member of a, then of b. A pair of
// one group with itself is only summed up.
// One workgroup per pair. Reads the channels of both groups once, `tile_rows` rows at a time. Sums in f32: each lane its
// rows ascending, then the lanes ascending.
#import index

struct Params {
    rows: u32,
    size: u32, // channels of a group, at most 16
    keep: u32, // below size
    pairs: u32,
    first: u32, // first of the pairs
    swaps: u32, // 0: only sum up
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> energy: array<f32>; // [channels, rows] row-major
@group(0) @binding(2) var<storage, read> pairs: array<u32>; // [>= first + pairs, 2] groups
@group(0) @binding(3) var<storage, read_write> order: array<u32>; // [channels], the channel at each place
@group(0) @binding(4) var<storage, read_write> sums: array<f32>; // [2, pairs]: kept before, gained

const THREADS: u32 = 256u;
// Gains below this share of what is kept may be rounding.
const LEAST: f32 = 1e-6;
var<workgroup> sh_energy: array<f32, THREADS * 2u>; // [2 size, tile_rows]
var<workgroup> sh_high: array<f32, THREADS * 2u>; // [2, tile_rows]
var<workgroup> sh_low: array<f32, THREADS * 2u>; // [2, tile_rows]
var<workgroup> sh_kept: array<f32, THREADS>;
var<workgroup> sh_gain: array<f32, THREADS>;
var<workgroup> sh_total: array<f32, THREADS>;

// Elements of the group that come before the member's in a row.
fn rank(member: u32, row: u32, tile_rows: u32) -> u32 {
    let size = params.size;
    let start = member / size * size;
    let mine = sh_energy[member * tile_rows + row];
    var better = 0u;
    for (var other = start; other < start + size; other++) {
        let value = sh_energy[other * tile_rows + row];
        if value > mine || (value == mine && other < member) {
            better++;
        }
    }
    return better;
}

// What a row keeps more if a member of the first group and one of the second change places.
fn row_gain(a: u32, b: u32, row: u32, tile_rows: u32) -> f32 {
    let va = sh_energy[a * tile_rows + row];
    let vb = sh_energy[b * tile_rows + row];
    let ha = sh_high[row];
    let hb = sh_high[tile_rows + row];
    let ra = select(ha, sh_low[row], va >= ha);
    let rb = select(hb, sh_low[tile_rows + row], vb >= hb);
    return (max(vb, ra) - max(va, ha)) + (max(va, rb) - max(vb, hb));
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let size = params.size;
    let linear = linear_group(group, groups);
    let pair = min(linear, params.pairs - 1u);
    let at = 2u * (params.first + pair);
    let place = vec2<u32>(pairs[at], pairs[at + 1u]) * size;
    let tile_rows = THREADS / size;
    let swap_lanes = THREADS / (size * size);
    let swap = lane / swap_lanes;
    var kept = 0.0;
    var gain = 0.0;
    for (var row = 0u; row < params.rows; row += tile_rows) {
        for (var i = lane; i < 2u * size * tile_rows; i += THREADS) {
            let member = i / tile_rows;
            let at_row = row + i % tile_rows;
            let channel = order[select(place.y - size, place.x, member < size) + member];
            sh_energy[i] = 0.0;
            if at_row < params.rows {
                sh_energy[i] = energy[channel * params.rows + at_row];
            }
        }
        workgroupBarrier();
        for (var i = lane; i < 2u * size * tile_rows; i += THREADS) {
            let member = i / tile_rows;
            let better = rank(member, i % tile_rows, tile_rows);
            let slot = member / size * tile_rows + i % tile_rows;
            if better == params.keep - 1u {
                sh_high[slot] = sh_energy[i];
            }
            if better == params.keep {
                sh_low[slot] = sh_energy[i];
            }
            if better < params.keep && (member < size || place.x != place.y) {
                kept += sh_energy[i];
            }
        }
        workgroupBarrier();
        if swap < size * size {
            for (var r = lane % swap_lanes; r < tile_rows; r += swap_lanes) {
                gain += row_gain(swap / size, size + swap % size, r, tile_rows);
            }
        }
        workgroupBarrier();
    }
    sh_kept[lane] = kept;
    sh_gain[lane] = gain;
    workgroupBarrier();
    if lane < size * size {
        var total = 0.0;
        for (var i = lane * swap_lanes; i < (lane + 1u) * swap_lanes; i++) {
            total += sh_gain[i];
        }
        sh_total[lane] = total;
    }
    workgroupBarrier();
    if lane > 0u || linear >= params.pairs {
        return;
    }
    kept = 0.0;
    for (var i = 0u; i < THREADS; i++) {
        kept += sh_kept[i];
    }
    var best = 0u;
    for (var i = 1u; i < size * size; i++) {
        if sh_total[i] > sh_total[best] {
            best = i;
        }
    }
    gain = 0.0;
    if params.swaps != 0u && place.x != place.y && sh_total[best] > LEAST * kept {
        gain = sh_total[best];
        let a = place.x + best / size;
        let b = place.y + best % size;
        let moved = order[a];
        order[a] = order[b];
        order[b] = moved;
    }
    sums[pair] = kept;
    sums[params.pairs + pair] = gain;
}
