// Four neighbouring values in workgroup memory, as f32.

alias Stored = vec4<f32>;
const STORED_BYTES: u32 = 16u;

fn store4(value: vec4<f32>) -> Stored {
    return value;
}

fn load4(stored: Stored) -> vec4<f32> {
    return stored;
}
