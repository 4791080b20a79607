// One tile of a matrix product on cooperative matrices of halves, with the accuracy of f32: four subgroups, each with
// 2 x 2 matrices of SIZE x SIZE. Same contract as `tile`, and B_SHORT: whether b holds at most 11 bits of precision.
// The knob COOP holds SIZE, the lanes of the largest subgroup and the depth in a byte each; the header has the aliases.
//
// Each operand x becomes two halves, high = f16(s x) and low = f16(2^11 (s x - high)); a b is taken as
// (high high + 2^-11 (high low + low high)) / (s_a s_b), where low low, 2^-22 of it at most, is left out. s is a power of
// two, one for each operand's part of a step of TILE_K, and brings its largest finite element to 2^14 .. 2^15.
// Sums: each step from zero in the units that multiply matrices, which may cut instead of round, then one f32 addition.
// No assumption on the size of a subgroup or on which invocations form one; more than four leave the others idle.

const SIZE: u32 = COOP / 65536u; // of a cooperative matrix
const WIDTH: u32 = COOP / 256u % 256u; // lanes of the largest subgroup
const TILE_K: u32 = COOP % 256u; // terms in workgroup memory at a time
const SUBGROUPS: u32 = 4u;
const TILE_ROWS: u32 = 4u * SIZE;
const TILE_COLS: u32 = 4u * SIZE;
const TILE_THREADS: u32 = SUBGROUPS * WIDTH;
const COL_STEP: u32 = 1u; // columns between the components given to finish
const PART: u32 = SIZE * SIZE; // elements of a cooperative matrix
const EACH: u32 = TILE_ROWS * TILE_K / TILE_THREADS; // elements of an operand that an invocation brings
const GAP: u32 = select(0u, 8u, TILE_K > 16u); // keeps neighbouring lines off the same banks
const A_LINE: u32 = select(TILE_ROWS, TILE_K, A_ALONG_K) + GAP;
const B_LINE: u32 = select(TILE_COLS, TILE_K, B_ALONG_K) + GAP;
const A_HALF: u32 = A_LINE * select(TILE_K, TILE_ROWS, A_ALONG_K);
const B_HALF: u32 = B_LINE * select(TILE_K, TILE_COLS, B_ALONG_K);
const LOW_SCALE: f32 = 2048.0; // of the low terms: 2^11
const LOW_UNSCALE: f32 = 0.00048828125; // 2^-11; a division need not be exact
const LEAST_NORMAL: f32 = 0.00006103515625; // 2^-14: below it hardware may take a half for zero
const INFINITE: u32 = 0x7f800000u; // bits of f32 infinity; those of NaN are larger
const FLOOR: u32 = 15u; // smallest biased exponent that is scaled up in full

var<workgroup> sh_a: array<f16, 2u * A_HALF>; // high terms, then low ones; lines run as the operand's memory does
var<workgroup> sh_b: array<f16, (2u - u32(B_SHORT)) * B_HALF>;
var<workgroup> sh_sums: array<f32, SUBGROUPS * PART>; // one matrix of each subgroup
var<workgroup> sh_peak: array<atomic<u32>, 4>; // bits of the largest element: a and b of even steps, then of odd ones
var<workgroup> sh_subgroups: atomic<u32>;

var<private> own_a: array<f32, EACH>;
var<private> own_b: array<f32, EACH>;
var<private> subgroup: u32; // which of the tile's quarters is this one's
var<private> sum00: Sums;
var<private> sum01: Sums;
var<private> sum10: Sums;
var<private> sum11: Sums;

// Row and k of the slot of a, k and column of that of b: neighbouring lanes read neighbouring memory.
fn slot_a(slot: u32) -> vec2<u32> {
    return select(vec2<u32>(slot % TILE_ROWS, slot / TILE_ROWS), vec2<u32>(slot / TILE_K, slot % TILE_K), A_ALONG_K);
}

fn slot_b(slot: u32) -> vec2<u32> {
    return select(vec2<u32>(slot / TILE_COLS, slot % TILE_COLS), vec2<u32>(slot % TILE_K, slot / TILE_K), B_ALONG_K);
}

fn tile_fetch(lane: u32, row0: u32, col0: u32, k0: u32) {
    for (var i = 0u; i < EACH; i++) {
        let at_a = slot_a(lane + i * TILE_THREADS);
        own_a[i] = load_a(row0 + at_a.x, k0 + at_a.y);
        let at_b = slot_b(lane + i * TILE_THREADS);
        own_b[i] = load_b(k0 + at_b.x, col0 + at_b.y);
    }
}

// Bits of |value|, by which magnitudes compare; what is not finite must not decide the scale of the rest.
fn magnitude(value: f32) -> u32 {
    let bits = bitcast<u32>(value) & 0x7fffffffu;
    return select(0u, bits, bits < INFINITE);
}

fn tile_peak(lane: u32, odd: u32) {
    var peak = vec2<u32>();
    for (var i = 0u; i < EACH; i++) {
        peak = max(peak, vec2<u32>(magnitude(own_a[i]), magnitude(own_b[i])));
    }
    peak = subgroupMax(peak);
    if subgroupMin(lane) == lane {
        atomicMax(&sh_peak[2u * odd], peak.x);
        atomicMax(&sh_peak[2u * odd + 1u], peak.y);
    }
}

fn high_of(value: f32) -> f16 {
    return select(f16(value), 0.0h, abs(value) < LEAST_NORMAL);
}

fn low_of(value: f32, high: f16) -> f16 {
    return f16((value - f32(high)) * LOW_SCALE);
}

// Writes the halves of a step into workgroup memory; what undoes their scale comes in two factors, since the product of
// both may lie beyond f32.
fn tile_split(lane: u32, odd: u32) -> vec2<f32> {
    let a_exponent = max(atomicLoad(&sh_peak[2u * odd]) >> 23u, FLOOR);
    let b_exponent = max(atomicLoad(&sh_peak[2u * odd + 1u]) >> 23u, FLOOR);
    let a_scale = bitcast<f32>((268u - a_exponent) << 23u);
    let b_scale = bitcast<f32>((268u - b_exponent) << 23u);
    for (var i = 0u; i < EACH; i++) {
        let slot_of_a = slot_a(lane + i * TILE_THREADS);
        let at_a = select(slot_of_a.y * A_LINE + slot_of_a.x, slot_of_a.x * A_LINE + slot_of_a.y, A_ALONG_K);
        let a_value = own_a[i] * a_scale;
        let a_high = high_of(a_value);
        sh_a[at_a] = a_high;
        sh_a[A_HALF + at_a] = low_of(a_value, a_high);
        let slot_of_b = slot_b(lane + i * TILE_THREADS);
        let at_b = select(slot_of_b.x * B_LINE + slot_of_b.y, slot_of_b.y * B_LINE + slot_of_b.x, B_ALONG_K);
        let b_value = own_b[i] * b_scale;
        if B_SHORT {
            sh_b[at_b] = f16(b_value);
        } else {
            let b_high = high_of(b_value);
            sh_b[at_b] = b_high;
            sh_b[(1u - u32(B_SHORT)) * B_HALF + at_b] = low_of(b_value, b_high);
        }
    }
    if lane < 2u {
        atomicStore(&sh_peak[2u * (1u - odd) + lane], 0u);
    }
    // 2^(a_exponent + b_exponent - 282), halved.
    let both = a_exponent + b_exponent;
    return bitcast<vec2<f32>>(vec2<u32>(both / 2u - 14u, (both + 1u) / 2u - 14u) << vec2<u32>(23u));
}

fn part_a(half: u32, row: u32, k: u32) -> Left {
    if A_ALONG_K {
        return coopLoadT<Left>(&sh_a[half * A_HALF + row * A_LINE + k], A_LINE);
    } else {
        return coopLoad<Left>(&sh_a[half * A_HALF + k * A_LINE + row], A_LINE);
    }
}

fn part_b(half: u32, k: u32, col: u32) -> Right {
    if B_ALONG_K {
        return coopLoad<Right>(&sh_b[half * B_HALF + col * B_LINE + k], B_LINE);
    } else {
        return coopLoadT<Right>(&sh_b[half * B_HALF + k * B_LINE + col], B_LINE);
    }
}

// Adds the products of a step.
fn tile_multiply(unscale: vec2<f32>) {
    let row = subgroup / 2u * 2u * SIZE;
    let col = subgroup % 2u * 2u * SIZE;
    var high00 = Sums();
    var high01 = Sums();
    var high10 = Sums();
    var high11 = Sums();
    var low00 = Sums();
    var low01 = Sums();
    var low10 = Sums();
    var low11 = Sums();
    for (var k = 0u; k < TILE_K; k += SIZE) {
        let a0 = part_a(0u, row, k);
        let a1 = part_a(0u, row + SIZE, k);
        let b0 = part_b(0u, k, col);
        let b1 = part_b(0u, k, col + SIZE);
        high00 = coopMultiplyAdd(a0, b0, high00);
        high01 = coopMultiplyAdd(a0, b1, high01);
        high10 = coopMultiplyAdd(a1, b0, high10);
        high11 = coopMultiplyAdd(a1, b1, high11);
        if !B_SHORT {
            let b0_low = part_b(1u, k, col);
            let b1_low = part_b(1u, k, col + SIZE);
            low00 = coopMultiplyAdd(a0, b0_low, low00);
            low01 = coopMultiplyAdd(a0, b1_low, low01);
            low10 = coopMultiplyAdd(a1, b0_low, low10);
            low11 = coopMultiplyAdd(a1, b1_low, low11);
        }
        let a0_low = part_a(1u, row, k);
        let a1_low = part_a(1u, row + SIZE, k);
        low00 = coopMultiplyAdd(a0_low, b0, low00);
        low01 = coopMultiplyAdd(a0_low, b1, low01);
        low10 = coopMultiplyAdd(a1_low, b0, low10);
        low11 = coopMultiplyAdd(a1_low, b1, low11);
    }
    let low_unscale = unscale.x * LOW_UNSCALE;
    sum00 = sum00 + (high00 * unscale.x + low00 * low_unscale) * unscale.y;
    sum01 = sum01 + (high01 * unscale.x + low01 * low_unscale) * unscale.y;
    sum10 = sum10 + (high10 * unscale.x + low10 * low_unscale) * unscale.y;
    sum11 = sum11 + (high11 * unscale.x + low11 * low_unscale) * unscale.y;
}

fn tile_product(lane: u32, row0: u32, col0: u32, inner: u32) {
    sum00 = Sums();
    sum01 = Sums();
    sum10 = Sums();
    sum11 = Sums();
    if lane == 0u {
        atomicStore(&sh_subgroups, 0u);
    }
    if lane < 4u {
        atomicStore(&sh_peak[lane], 0u);
    }
    workgroupBarrier();
    var number = 0u;
    if subgroupMin(lane) == lane {
        number = atomicAdd(&sh_subgroups, 1u);
    }
    subgroup = subgroupMax(number);
    tile_fetch(lane, row0, col0, 0u);
    tile_peak(lane, 0u);
    for (var k0 = 0u; k0 < inner; k0 += TILE_K) {
        let odd = k0 / TILE_K % 2u;
        workgroupBarrier();
        let unscale = tile_split(lane, odd);
        workgroupBarrier();
        // Zeros beyond the last step.
        tile_fetch(lane, row0, col0, k0 + TILE_K);
        if subgroup < SUBGROUPS {
            tile_multiply(unscale);
        }
        tile_peak(lane, 1u - odd);
    }
}

fn tile_drain(lane: u32, row0: u32, col0: u32, sums: Sums) {
    workgroupBarrier();
    if subgroup < SUBGROUPS {
        coopStoreT(sums, &sh_sums[subgroup * PART], SIZE);
    }
    workgroupBarrier();
    for (var four = lane; four < SUBGROUPS * PART / 4u; four += TILE_THREADS) {
        let at = 4u * four;
        let quarter = at / PART;
        let row = row0 + quarter / 2u * 2u * SIZE + at % PART / SIZE;
        let col = col0 + quarter % 2u * 2u * SIZE + at % SIZE;
        finish(row, col, vec4<f32>(sh_sums[at], sh_sums[at + 1u], sh_sums[at + 2u], sh_sums[at + 3u]));
    }
}

fn tile_finish(lane: u32, row0: u32, col0: u32) {
    tile_drain(lane, row0, col0, sum00);
    tile_drain(lane, row0, col0 + SIZE, sum01);
    tile_drain(lane, row0 + SIZE, col0, sum10);
    tile_drain(lane, row0 + SIZE, col0 + SIZE, sum11);
}
