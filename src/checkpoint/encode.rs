//! Pruned weights as stored elements: exact zeros where pruned, never a zero or an infinity where kept.

use half::{bf16, f16};
use rayon::prelude::*;

use crate::tensor::DType;

/// Elements that one thread encodes at a time.
const PIECE: usize = 1 << 15;

/// Encoded weights and how often rounding had to be overruled.
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) zeros: usize,
    pub(crate) raised: usize,
    pub(crate) saturated: usize,
}

impl Encoded {
    /// None yet, with room for so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Encoded {
            bytes: Vec::with_capacity(bytes),
            zeros: 0,
            raised: 0,
            saturated: 0,
        }
    }

    /// Adds what follows.
    pub(crate) fn append(&mut self, next: Encoded) {
        self.bytes.extend(next.bytes);
        self.zeros += next.zeros;
        self.raised += next.raised;
        self.saturated += next.saturated;
    }
}

/// Encodes `values`; `support` is 0 where pruned. A kept value that would round to zero becomes the type's smallest
/// number of its sign, one beyond the range its largest: the sparsity stays exact and the file finite.
pub(crate) fn encode(values: &[f32], support: &[f32], dtype: DType) -> Encoded {
    let pieces = values.par_chunks(PIECE).zip(support.par_chunks(PIECE));
    let encoded: Vec<Encoded> = pieces
        .map(|(values, support)| encode_piece(values, support, dtype))
        .collect();
    let mut all = Encoded::with_capacity(values.len() * dtype.size());
    encoded.into_iter().for_each(|piece| all.append(piece));
    all
}

fn encode_piece(values: &[f32], support: &[f32], dtype: DType) -> Encoded {
    let (mut zeros, mut raised, mut saturated) = (0, 0, 0);
    let (smallest, largest) = limits(dtype);
    let fixed: Vec<f32> = values
        .iter()
        .zip(support)
        .map(|(value, support)| {
            if *support == 0.0 {
                zeros += 1;
                return 0.0;
            }
            let rounded = round(*value, dtype);
            if rounded == 0.0 {
                raised += 1;
                return smallest.copysign(*value);
            }
            if rounded.is_infinite() {
                saturated += 1;
                return largest.copysign(*value);
            }
            *value
        })
        .collect();
    Encoded {
        bytes: dtype.encode(&fixed),
        zeros,
        raised,
        saturated,
    }
}

/// Smallest positive and largest finite number of a type.
fn limits(dtype: DType) -> (f32, f32) {
    match dtype {
        DType::F32 => (f32::from_bits(1), f32::MAX),
        DType::F16 => (f16::from_bits(1).to_f32(), f16::MAX.to_f32()),
        DType::BF16 => (bf16::from_bits(1).to_f32(), bf16::MAX.to_f32()),
    }
}

fn round(value: f32, dtype: DType) -> f32 {
    match dtype {
        DType::F32 => value,
        DType::F16 => f16::from_f32(value).to_f32(),
        DType::BF16 => bf16::from_f32(value).to_f32(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_weights_never_become_zero_or_infinite() {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let values = [1.0, -1e-45, 0.0, 3.4e38, -2.0, 5.0];
            let support = [1.0, 1.0, 1.0, 1.0, 0.0, 1.0];
            let encoded = encode(&values, &support, dtype);
            let back = dtype.decode(&encoded.bytes);
            assert_eq!(encoded.zeros, 1);
            assert_eq!(dtype.count_zeros(&encoded.bytes), 1, "{dtype:?}");
            assert!(back.iter().all(|v| v.is_finite()), "{dtype:?} {back:?}");
            assert!(
                back[1] < 0.0 && back[2] > 0.0 && back[0] == 1.0 && back[5] == 5.0,
                "{dtype:?} {back:?}"
            );
        }
    }
}
