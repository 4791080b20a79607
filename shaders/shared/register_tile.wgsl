// One 16 x 64 tile of a matrix product for drivers that run on the CPU: 16 invocations, 8 rows x 8 columns each, no
// workgroup memory and no barriers (they cost lavapipe 1.5 to 3 x). Same contract and same order of sums as `tile`.
// Neighbouring lanes own neighbouring columns.

const TILE_ROWS: u32 = 16u;
const TILE_COLS: u32 = 64u;
const TILE_THREADS: u32 = 16u;
const COL_STEP: u32 = 8u; // columns between the components given to finish

var<private> acc: array<vec4<f32>, 16>; // [row of 8][left, right]

fn tile_product(lane: u32, row0: u32, col0: u32, inner: u32) {
    let row = row0 + 8u * (lane / 8u);
    let col = col0 + lane % 8u;
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
    for (var k = 0u; k < inner; k++) {
        let b0 = vec4<f32>(load_b(k, col), load_b(k, col + 8u), load_b(k, col + 16u), load_b(k, col + 24u));
        let b1 = vec4<f32>(load_b(k, col + 32u), load_b(k, col + 40u), load_b(k, col + 48u), load_b(k, col + 56u));
        let a0 = load_a(row + 0u, k);
        let a1 = load_a(row + 1u, k);
        let a2 = load_a(row + 2u, k);
        let a3 = load_a(row + 3u, k);
        let a4 = load_a(row + 4u, k);
        let a5 = load_a(row + 5u, k);
        let a6 = load_a(row + 6u, k);
        let a7 = load_a(row + 7u, k);
        acc[0] += a0 * b0;
        acc[1] += a0 * b1;
        acc[2] += a1 * b0;
        acc[3] += a1 * b1;
        acc[4] += a2 * b0;
        acc[5] += a2 * b1;
        acc[6] += a3 * b0;
        acc[7] += a3 * b1;
        acc[8] += a4 * b0;
        acc[9] += a4 * b1;
        acc[10] += a5 * b0;
        acc[11] += a5 * b1;
        acc[12] += a6 * b0;
        acc[13] += a6 * b1;
        acc[14] += a7 * b0;
        acc[15] += a7 * b1;
    }
}

fn tile_finish(lane: u32, row0: u32, col0: u32) {
    let row = row0 + 8u * (lane / 8u);
    let col = col0 + lane % 8u;
    finish(row + 0u, col + 0u, acc[0]);
    finish(row + 0u, col + 32u, acc[1]);
    finish(row + 1u, col + 0u, acc[2]);
    finish(row + 1u, col + 32u, acc[3]);
    finish(row + 2u, col + 0u, acc[4]);
    finish(row + 2u, col + 32u, acc[5]);
    finish(row + 3u, col + 0u, acc[6]);
    finish(row + 3u, col + 32u, acc[7]);
    finish(row + 4u, col + 0u, acc[8]);
    finish(row + 4u, col + 32u, acc[9]);
    finish(row + 5u, col + 0u, acc[10]);
    finish(row + 5u, col + 32u, acc[11]);
    finish(row + 6u, col + 0u, acc[12]);
    finish(row + 6u, col + 32u, acc[13]);
    finish(row + 7u, col + 0u, acc[14]);
    finish(row + 7u, col + 32u, acc[15]);
}
