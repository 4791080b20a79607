//! Element types a weight may be stored in.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

/// Elements that one thread converts at a time.
const PIECE: usize = 1 << 14;

/// Element type of a stored weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// bfloat16: the upper half of an f32.
    BF16,
}

impl DType {
    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F16 | DType::BF16 => 2,
        }
    }

    /// The number by which shaders know this type (`shaders/shared/half.wgsl`).
    pub fn code(self) -> u32 {
        match self {
            DType::F32 => 0,
            DType::F16 => 1,
            DType::BF16 => 2,
        }
    }

    /// Lower-case name as the Hugging Face `config.json` spells it.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "float32",
            DType::F16 => "float16",
            DType::BF16 => "bfloat16",
        }
    }

    /// Decodes little-endian elements to f32; exact for every type.
    ///
    /// `bytes.len()` must be a multiple of [`DType::size`].
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            DType::F32 => bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            DType::F16 => {
                let mut values = vec![0.0; bytes.len() / 2];
                values
                    .par_chunks_mut(PIECE)
                    .zip(bytes.par_chunks(2 * PIECE))
                    .for_each(|(values, bytes)| {
                        let halves: Vec<f16> = bytes
                            .chunks_exact(2)
                            .map(|b| f16::from_le_bytes([b[0], b[1]]))
                            .collect();
                        halves.convert_to_f32_slice(values);
                    });
                values
            }
            DType::BF16 => bytes
                .chunks_exact(2)
                .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
        }
    }

    /// Encodes f32 values (round to nearest even) as little-endian elements.
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            DType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            DType::F16 => {
                let mut bytes = vec![0; 2 * values.len()];
                bytes
                    .par_chunks_mut(2 * PIECE)
                    .zip(values.par_chunks(PIECE))
                    .for_each(|(bytes, values)| {
                        let mut halves = vec![f16::ZERO; values.len()];
                        halves.convert_from_f32_slice(values);
                        (bytes.chunks_exact_mut(2).zip(halves))
                            .for_each(|(to, half)| to.copy_from_slice(&half.to_le_bytes()));
                    });
                bytes
            }
            DType::BF16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
        }
    }

    /// Whether some value is not zero and yet below the smallest normal f32, which devices may take for zero.
    pub fn has_tiny(self, bytes: &[u8]) -> bool {
        const TINY: std::ops::Range<u16> = 1..0x80;
        match self {
            DType::F32 => bytes.chunks_exact(4).any(|b| {
                let bits = u32::from_le_bytes([b[0], b[1], b[2], b[3]]) & 0x7fff_ffff;
                (1..0x80_0000).contains(&bits)
            }),
            // Every half is a normal f32.
            DType::F16 => false,
            DType::BF16 => {
                let bits = |b: &[u8]| u16::from_le_bytes([b[0], b[1]]) & 0x7fff;
                bytes.chunks_exact(2).any(|b| TINY.contains(&bits(b)))
            }
        }
    }

    /// Index of the first element that is NaN or infinite, by its bits.
    pub fn first_not_finite(self, bytes: &[u8]) -> Option<usize> {
        let half = |exponent: u16| move |b: &[u8]| u16::from_le_bytes([b[0], b[1]]) & exponent == exponent;
        match self {
            DType::F32 => bytes
                .chunks_exact(4)
                .position(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) & 0x7f80_0000 == 0x7f80_0000),
            DType::F16 => bytes.chunks_exact(2).position(half(0x7c00)),
            DType::BF16 => bytes.chunks_exact(2).position(half(0x7f80)),
        }
    }

    /// Number of elements whose bits are zero of either sign.
    pub fn count_zeros(self, bytes: &[u8]) -> usize {
        match self {
            DType::F32 => bytes
                .chunks_exact(4)
                .filter(|b| b[..3] == [0; 3] && b[3] & 0x7f == 0)
                .count(),
            DType::F16 | DType::BF16 => bytes.chunks_exact(2).filter(|b| b[0] == 0 && b[1] & 0x7f == 0).count(),
        }
    }
}
