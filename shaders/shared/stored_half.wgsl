// Four neighbouring values in workgroup memory, as halves: same contract as `stored`, half the bytes. 11 bits of precision,
// of which conversion may cut the last; what is beyond the range of halves becomes their largest number, what is not
// finite NaN.

alias Stored = vec2<u32>;
const STORED_BYTES: u32 = 8u;
const LARGEST_HALF: f32 = 65504.0;
const INFINITE: u32 = 0x7f800000u; // bits of f32 infinity; those of NaN are larger
const HALF_NAN: u32 = 0x7e00u;

fn store4(value: vec4<f32>) -> Stored {
    let most = vec4<f32>(LARGEST_HALF);
    // By their bits: compilers may take it that there are none.
    let lost = (bitcast<vec4<u32>>(value) & vec4<u32>(0x7fffffffu)) >= vec4<u32>(INFINITE);
    let safe = select(clamp(value, -most, most), vec4<f32>(), lost);
    let nan = select(vec4<u32>(), vec4<u32>(HALF_NAN), lost);
    let low = pack2x16float(safe.xy) | nan.x | (nan.y << 16u);
    return vec2<u32>(low, pack2x16float(safe.zw) | nan.z | (nan.w << 16u));
}

fn load4(stored: Stored) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(stored.x), unpack2x16float(stored.y));
}
