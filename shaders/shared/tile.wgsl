// One tile of a matrix product for GPUs: 8 x 8 elements per invocation, operands through workgroup memory.
// 64 x 64 x 16 has 64 invocations.
// The importing kernel defines `load_a(row, k)`, `load_b(k, col)` (zero out of range), `finish(row, col, vec4)` for
// four neighbouring columns, and A_ALONG_K / B_ALONG_K: whether the operand's memory runs along k.
// Sums in f32, k ascending, one running sum per element.
#import outer

var<workgroup> sh_a: array<vec4<f32>, SLOTS_A>; // [k][row / 4]
var<workgroup> sh_b: array<vec4<f32>, SLOTS_B>; // [k][col / 4]

fn tile_load(lane: u32, row0: u32, col0: u32, k0: u32) {
    for (var slot = lane; slot < SLOTS_A; slot += TILE_THREADS) {
        let at = slot_a(slot);
        sh_a[at.x * (TILE_ROWS / 4u) + at.y] = fetch_a(at, row0, k0);
    }
    for (var slot = lane; slot < SLOTS_B; slot += TILE_THREADS) {
        let at = slot_b(slot);
        sh_b[at.x * (TILE_COLS / 4u) + at.y] = fetch_b(at, col0, k0);
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
