// One tile of a matrix product for GPUs: 8 x 8 elements per invocation, operands through workgroup memory. The knob TILE
// holds its rows, columns and depth in a byte each; 64 x 64 x 16 has 64 invocations.
// The importing kernel defines `load_a(row, k)`, `load_b(k, col)` (zero out of range), `finish(row, col, vec4)` for
// four neighbouring columns, and A_ALONG_K / B_ALONG_K: whether the operand's memory runs along k.
// Sums in f32, k ascending, one running sum per element. Unrolled by hand: constant loops cost SwiftShader 7 x.

const TILE_ROWS: u32 = TILE / 65536u;
const TILE_COLS: u32 = TILE / 256u % 256u;
const TILE_K: u32 = TILE % 256u;
const LANES: u32 = TILE_COLS / 8u; // invocations side by side
const TILE_THREADS: u32 = TILE_ROWS / 8u * LANES;
const COL_STEP: u32 = 1u; // columns between the components given to finish
const SLOTS_A: u32 = TILE_ROWS / 4u * TILE_K; // vec4 slots of an operand's tile
const SLOTS_B: u32 = TILE_COLS / 4u * TILE_K;

var<workgroup> sh_a: array<vec4<f32>, SLOTS_A>; // [k][row / 4]
var<workgroup> sh_b: array<vec4<f32>, SLOTS_B>; // [k][col / 4]
var<private> acc: array<vec4<f32>, 16>; // [row of 8][left, right]

fn tile_load(lane: u32, row0: u32, col0: u32, k0: u32) {
    for (var slot = lane; slot < SLOTS_A; slot += TILE_THREADS) {
        // Neighbouring lanes read neighbouring memory.
        let ka = select(slot / (TILE_ROWS / 4u), slot % TILE_K, A_ALONG_K);
        let ra = select(slot % (TILE_ROWS / 4u), slot / TILE_K, A_ALONG_K);
        let row = row0 + 4u * ra;
        let k_a = k0 + ka;
        sh_a[ka * (TILE_ROWS / 4u) + ra] =
            vec4<f32>(load_a(row, k_a), load_a(row + 1u, k_a), load_a(row + 2u, k_a), load_a(row + 3u, k_a));
    }
    for (var slot = lane; slot < SLOTS_B; slot += TILE_THREADS) {
        let kb = select(slot / (TILE_COLS / 4u), slot % TILE_K, B_ALONG_K);
        let cb = select(slot % (TILE_COLS / 4u), slot / TILE_K, B_ALONG_K);
        let col = col0 + 4u * cb;
        let k_b = k0 + kb;
        sh_b[kb * (TILE_COLS / 4u) + cb] =
            vec4<f32>(load_b(k_b, col), load_b(k_b, col + 1u), load_b(k_b, col + 2u), load_b(k_b, col + 3u));
    }
}

fn tile_product(lane: u32, row0: u32, col0: u32, inner: u32) {
    let x = lane % LANES;
    let y = lane / LANES;
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
    for (var k0 = 0u; k0 < inner; k0 += TILE_K) {
        tile_load(lane, row0, col0, k0);
        workgroupBarrier();
        for (var k = 0u; k < TILE_K; k++) {
            let a0 = sh_a[k * (TILE_ROWS / 4u) + y];
            let a1 = sh_a[k * (TILE_ROWS / 4u) + TILE_ROWS / 8u + y];
            let b0 = sh_b[k * (TILE_COLS / 4u) + x];
            let b1 = sh_b[k * (TILE_COLS / 4u) + LANES + x];
            acc[0] += a0.x * b0;
            acc[1] += a0.x * b1;
            acc[2] += a0.y * b0;
            acc[3] += a0.y * b1;
            acc[4] += a0.z * b0;
            acc[5] += a0.z * b1;
            acc[6] += a0.w * b0;
            acc[7] += a0.w * b1;
            acc[8] += a1.x * b0;
            acc[9] += a1.x * b1;
            acc[10] += a1.y * b0;
            acc[11] += a1.y * b1;
            acc[12] += a1.z * b0;
            acc[13] += a1.z * b1;
            acc[14] += a1.w * b0;
            acc[15] += a1.w * b1;
        }
        workgroupBarrier();
    }
}

fn tile_finish(lane: u32, row0: u32, col0: u32) {
    let row = row0 + 4u * (lane / LANES);
    let low = row + TILE_ROWS / 2u;
    let col = col0 + 4u * (lane % LANES);
    finish(row + 0u, col + 0u, acc[0]);
    finish(row + 0u, col + TILE_COLS / 2u, acc[1]);
    finish(row + 1u, col + 0u, acc[2]);
    finish(row + 1u, col + TILE_COLS / 2u, acc[3]);
    finish(row + 2u, col + 0u, acc[4]);
    finish(row + 2u, col + TILE_COLS / 2u, acc[5]);
    finish(row + 3u, col + 0u, acc[6]);
    finish(row + 3u, col + TILE_COLS / 2u, acc[7]);
    finish(low + 0u, col + 0u, acc[8]);
    finish(low + 0u, col + TILE_COLS / 2u, acc[9]);
    finish(low + 1u, col + 0u, acc[10]);
    finish(low + 1u, col + TILE_COLS / 2u, acc[11]);
    finish(low + 2u, col + 0u, acc[12]);
    finish(low + 2u, col + TILE_COLS / 2u, acc[13]);
    finish(low + 3u, col + 0u, acc[14]);
    finish(low + 3u, col + TILE_COLS / 2u, acc[15]);
}
