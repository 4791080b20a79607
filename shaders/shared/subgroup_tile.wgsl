// One tile of a matrix product for GPUs whose lanes hand registers round quickly: 16 x 4 elements per invocation, no workgroup
// memory and no barriers. Same contract and same order of sums as `tile`. The knob LANES holds the invocations; all of them
// share the tile's 16 rows, and neighbouring lanes own neighbouring columns.
//
// In steps of a subgroup along k, each lane brings one term of every row of a, and a shuffle hands each to all in its turn;
// of b every lane reads its own columns. Works with subgroups of any size, larger than the workgroup too, whose active lanes
// are the first ones.

const TILE_ROWS: u32 = 16u;
const TILE_COLS: u32 = 4u * LANES;
const TILE_THREADS: u32 = LANES;
const COL_STEP: u32 = LANES; // columns between the components given to finish

var<private> acc: array<vec4<f32>, TILE_ROWS>;

fn tile_product(lane: u32, row0: u32, col0: u32, inner: u32) {
    let width = subgroupAdd(1u); // active lanes
    let own = subgroupExclusiveAdd(1u); // this one's place among them
    let col = col0 + lane;
    acc[0] = vec4<f32>();
    acc[1] = vec4<f32>();
    acc[2] = vec4<f32>();
    acc[3] = vec4<f32>();
    acc[4] = vec4<f32>();
    acc[5] = vec4<f32>();
    acc[6] = vec4<f32>();
    acc[7] = vec4<f32>();
    acc[8] = vec4<f32>();
    acc[9] = vec4<f32>();
    acc[10] = vec4<f32>();
    acc[11] = vec4<f32>();
    acc[12] = vec4<f32>();
    acc[13] = vec4<f32>();
    acc[14] = vec4<f32>();
    acc[15] = vec4<f32>();
    for (var k0 = 0u; k0 < inner; k0 += width) {
        let k = k0 + own;
        let a0 = load_a(row0 + 0u, k);
        let a1 = load_a(row0 + 1u, k);
        let a2 = load_a(row0 + 2u, k);
        let a3 = load_a(row0 + 3u, k);
        let a4 = load_a(row0 + 4u, k);
        let a5 = load_a(row0 + 5u, k);
        let a6 = load_a(row0 + 6u, k);
        let a7 = load_a(row0 + 7u, k);
        let a8 = load_a(row0 + 8u, k);
        let a9 = load_a(row0 + 9u, k);
        let a10 = load_a(row0 + 10u, k);
        let a11 = load_a(row0 + 11u, k);
        let a12 = load_a(row0 + 12u, k);
        let a13 = load_a(row0 + 13u, k);
        let a14 = load_a(row0 + 14u, k);
        let a15 = load_a(row0 + 15u, k);
        let steps = min(width, inner - k0);
        for (var i = 0u; i < steps; i++) {
            let at = k0 + i;
            let b = vec4<f32>(
                load_b(at, col),
                load_b(at, col + COL_STEP),
                load_b(at, col + 2u * COL_STEP),
                load_b(at, col + 3u * COL_STEP),
            );
            acc[0] += subgroupShuffle(a0, i) * b;
            acc[1] += subgroupShuffle(a1, i) * b;
            acc[2] += subgroupShuffle(a2, i) * b;
            acc[3] += subgroupShuffle(a3, i) * b;
            acc[4] += subgroupShuffle(a4, i) * b;
            acc[5] += subgroupShuffle(a5, i) * b;
            acc[6] += subgroupShuffle(a6, i) * b;
            acc[7] += subgroupShuffle(a7, i) * b;
            acc[8] += subgroupShuffle(a8, i) * b;
            acc[9] += subgroupShuffle(a9, i) * b;
            acc[10] += subgroupShuffle(a10, i) * b;
            acc[11] += subgroupShuffle(a11, i) * b;
            acc[12] += subgroupShuffle(a12, i) * b;
            acc[13] += subgroupShuffle(a13, i) * b;
            acc[14] += subgroupShuffle(a14, i) * b;
            acc[15] += subgroupShuffle(a15, i) * b;
        }
    }
}

fn tile_finish(lane: u32, row0: u32, col0: u32) {
    let col = col0 + lane;
    finish(row0 + 0u, col, acc[0]);
    finish(row0 + 1u, col, acc[1]);
    finish(row0 + 2u, col, acc[2]);
    finish(row0 + 3u, col, acc[3]);
    finish(row0 + 4u, col, acc[4]);
    finish(row0 + 5u, col, acc[5]);
    finish(row0 + 6u, col, acc[6]);
    finish(row0 + 7u, col, acc[7]);
    finish(row0 + 8u, col, acc[8]);
    finish(row0 + 9u, col, acc[9]);
    finish(row0 + 10u, col, acc[10]);
    finish(row0 + 11u, col, acc[11]);
    finish(row0 + 12u, col, acc[12]);
    finish(row0 + 13u, col, acc[13]);
    finish(row0 + 14u, col, acc[14]);
    finish(row0 + 15u, col, acc[15]);
}
