// What tiles with operands in workgroup memory share. The knob TILE holds rows, columns and depth in a byte each. An
// invocation has 8 x 8 elements in registers: two pairs of four rows, half a tile apart, by two of four columns, unrolled by
// hand, since constant loops cost SwiftShader 7 x.

const TILE_ROWS: u32 = TILE / 65536u;
const TILE_COLS: u32 = TILE / 256u % 256u;
const TILE_K: u32 = TILE % 256u;
const LANES: u32 = TILE_COLS / 8u; // invocations side by side
const TILE_THREADS: u32 = TILE_ROWS / 8u * LANES;
const COL_STEP: u32 = 1u; // columns between the components given to finish
const SLOTS_A: u32 = TILE_ROWS / 4u * TILE_K; // vec4 slots of an operand's tile
const SLOTS_B: u32 = TILE_COLS / 4u * TILE_K;

var<private> acc: array<vec4<f32>, 16>; // [row of 8][left, right]

// k and place of a slot of a, and of b: neighbouring lanes read neighbouring memory.
fn slot_a(slot: u32) -> vec2<u32> {
    let ka = select(slot / (TILE_ROWS / 4u), slot % TILE_K, A_ALONG_K);
    return vec2<u32>(ka, select(slot % (TILE_ROWS / 4u), slot / TILE_K, A_ALONG_K));
}

fn slot_b(slot: u32) -> vec2<u32> {
    let kb = select(slot / (TILE_COLS / 4u), slot % TILE_K, B_ALONG_K);
    return vec2<u32>(kb, select(slot % (TILE_COLS / 4u), slot / TILE_K, B_ALONG_K));
}

// Four neighbouring rows of a, or columns of b, at such a place.
fn fetch_a(at: vec2<u32>, row0: u32, k0: u32) -> vec4<f32> {
    let row = row0 + 4u * at.y;
    let k = k0 + at.x;
    return vec4<f32>(load_a(row, k), load_a(row + 1u, k), load_a(row + 2u, k), load_a(row + 3u, k));
}

fn fetch_b(at: vec2<u32>, col0: u32, k0: u32) -> vec4<f32> {
    let col = col0 + 4u * at.y;
    let k = k0 + at.x;
    return vec4<f32>(load_b(k, col), load_b(k, col + 1u), load_b(k, col + 2u), load_b(k, col + 3u));
}

fn clear_acc() {
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
}

// Adds one term of the sums.
fn add_outer(a0: vec4<f32>, a1: vec4<f32>, b0: vec4<f32>, b1: vec4<f32>) {
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
