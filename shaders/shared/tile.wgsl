// One tile of a matrix product for GPUs: 8 x 8 elements per invocation, operands through workgroup memory. The knob TILE
// holds its rows, columns and depth in a byte each; 64 x 64 x 16 has 64 invocations.
// The importing kernel defines `load_a(row, k)`, `load_b(k, col)` (zero out of range), `finish(row, col, vec4)` for
// four neighbouring columns, and A_ALONG_K / B_ALONG_K: whether the operand's memory runs along k.
// Sums in f32, k ascending, one running sum per element.
#import outer

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
    clear_acc();
    for (var k0 = 0u; k0 < inner; k0 += TILE_K) {
        tile_load(lane, row0, col0, k0);
        workgroupBarrier();
        for (var k = 0u; k < TILE_K; k++) {
            let a0 = sh_a[k * (TILE_ROWS / 4u) + y];
            let a1 = sh_a[k * (TILE_ROWS / 4u) + TILE_ROWS / 8u + y];
            let b0 = sh_b[k * (TILE_COLS / 4u) + x];
            let b1 = sh_b[k * (TILE_COLS / 4u) + LANES + x];
            add_outer(a0, a1, b0, b1);
        }
        workgroupBarrier();
    }
}
