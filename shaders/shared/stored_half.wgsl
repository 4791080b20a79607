// Four neighbouring values in workgroup memory, as halves: same contract as `stored`, half the bytes. 11 bits of precision,
// of which conversion may cut the last; what is beyond the range of halves becomes their largest number.

alias Stored = vec2<u32>;
const STORED_BYTES: u32 = 8u;
const LARGEST_HALF: f32 = 65504.0;

fn store4(value: vec4<f32>) -> Stored {
    let most = vec4<f32>(LARGEST_HALF);
    let safe = clamp(value, -most, most);
    return vec2<u32>(pack2x16float(safe.xy), pack2x16float(safe.zw));
}

fn load4(stored: Stored) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(stored.x), unpack2x16float(stored.y));
}
