// Weights stored as f32 (format 0), f16 (1) or bf16 (2) in 32-bit words; half precision packs two elements a word,
// the lower half first. Needs no optional feature.

// Word that holds element `index`.
fn half_word(format: u32, index: u32) -> u32 {
    return select(index / 2u, index, format == 0u);
}

// Value of element `index` out of its word.
fn half_value(format: u32, word: u32, index: u32) -> f32 {
    if format == 0u {
        return bitcast<f32>(word);
    }
    let bits = (word >> (16u * (index & 1u))) & 0xffffu;
    if format == 1u {
        return unpack2x16float(bits).x;
    }
    return bitcast<f32>(bits << 16u);
}
