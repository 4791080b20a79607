// As `tile`, with two buffers in workgroup memory: the next step's operands come into registers while this one's are
// multiplied, and one barrier a step is enough. Same contract and same order of sums; a larger need of registers.
#import outer

const EACH_A: u32 = (SLOTS_A + TILE_THREADS - 1u) / TILE_THREADS; // slots that an invocation brings
const EACH_B: u32 = (SLOTS_B + TILE_THREADS - 1u) / TILE_THREADS;

var<workgroup> sh_a: array<vec4<f32>, 2u * SLOTS_A>; // [buffer][k][row / 4]
var<workgroup> sh_b: array<vec4<f32>, 2u * SLOTS_B>; // [buffer][k][col / 4]
var<private> own_a: array<vec4<f32>, EACH_A>;
var<private> own_b: array<vec4<f32>, EACH_B>;

fn tile_fetch(lane: u32, row0: u32, col0: u32, k0: u32) {
    for (var i = 0u; i < EACH_A; i++) {
        own_a[i] = fetch_a(slot_a(lane + i * TILE_THREADS), row0, k0);
    }
    for (var i = 0u; i < EACH_B; i++) {
        own_b[i] = fetch_b(slot_b(lane + i * TILE_THREADS), col0, k0);
    }
}

fn tile_put(lane: u32, buffer: u32) {
    for (var i = 0u; i < EACH_A; i++) {
        let slot = lane + i * TILE_THREADS;
        if slot < SLOTS_A {
            let at = slot_a(slot);
            sh_a[buffer * SLOTS_A + at.x * (TILE_ROWS / 4u) + at.y] = own_a[i];
        }
    }
    for (var i = 0u; i < EACH_B; i++) {
        let slot = lane + i * TILE_THREADS;
        if slot < SLOTS_B {
            let at = slot_b(slot);
            sh_b[buffer * SLOTS_B + at.x * (TILE_COLS / 4u) + at.y] = own_b[i];
        }
    }
}

fn tile_product(lane: u32, row0: u32, col0: u32, inner: u32) {
    let x = lane % LANES;
    let y = lane / LANES;
    clear_acc();
    tile_fetch(lane, row0, col0, 0u);
    tile_put(lane, 0u);
    workgroupBarrier();
    var buffer = 0u;
    for (var k0 = 0u; k0 < inner; k0 += TILE_K) {
        // Zeros beyond the last step.
        tile_fetch(lane, row0, col0, k0 + TILE_K);
        let from_a = buffer * SLOTS_A + y;
        let from_b = buffer * SLOTS_B + x;
        for (var k = 0u; k < TILE_K; k++) {
            let a0 = sh_a[from_a + k * (TILE_ROWS / 4u)];
            let a1 = sh_a[from_a + k * (TILE_ROWS / 4u) + TILE_ROWS / 8u];
            let b0 = sh_b[from_b + k * (TILE_COLS / 4u)];
            let b1 = sh_b[from_b + k * (TILE_COLS / 4u) + LANES];
            add_outer(a0, a1, b0, b1);
        }
        buffer = 1u - buffer;
        tile_put(lane, buffer);
        workgroupBarrier();
    }
}
