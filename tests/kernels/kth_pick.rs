use secateur::ops::prox::{self, Digit};
use secateur::tensor::{DType, Tensor};

use crate::common::{devices, play};

fn words(gpu: &secateur::gpu::Gpu, cols: usize, values: &[u32]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Tensor::upload_stored(gpu, "words", [values.len() / cols, cols], DType::F32, &bytes).unwrap()
}

/// Bins 0, 7, 8 and 255 hold 2, 3, 4 and 1 elements.
fn bins() -> Vec<u32> {
    let mut bins = vec![0; 256];
    for (bin, count) in [(0, 2), (7, 3), (8, 4), (255, 1)] {
        bins[bin] = count;
    }
    bins
}

#[test]
fn first_digit_caps_the_rank() {
    let picks = [
        (0, [0, 0, 0, 0]),
        (1, [255 << 24, 0, 1, 0]),
        (2, [8 << 24, 0, 1, 0]),
        (5, [8 << 24, 0, 4, 0]),
        (6, [7 << 24, 0, 1, 0]),
        (10, [0, 0, 2, 0]),
        (99, [0, 0, 2, 0]),
    ];
    let digit = Digit {
        by_index: false,
        shift: 24,
    };
    for gpu in devices() {
        for (keep, wanted) in picks {
            // The state is what an earlier use left; segments beyond the first two are none of the kernel's business.
            let (histogram, state) = (words(gpu, 256, &bins().repeat(3)), words(gpu, 4, &[9; 12]));
            play(gpu, |recording| {
                prox::kth_pick(recording, 2, Some(keep), digit, &histogram, &state);
            });
            let found = gpu.fetch(&state.slice()).unwrap();
            for segment in 0..2 {
                assert_eq!(
                    found[4 * segment..4 * segment + 3],
                    wanted[..3],
                    "{} {keep}",
                    gpu.name()
                );
            }
            assert_eq!(found[8..], [9; 4], "{} {keep}", gpu.name());
            let left = gpu.fetch(&histogram.slice()).unwrap();
            assert!(left[..512].iter().all(|count| *count == 0), "{} cleared", gpu.name());
            assert_eq!(left[512..], bins(), "{} guard", gpu.name());
        }
    }
}

#[test]
fn later_digits_join_the_state() {
    for gpu in devices() {
        for (by_index, wanted) in [(false, [0x1234_0800, 0x55, 3]), (true, [0x1234_0000, 0x855, 3])] {
            let (histogram, state) = (words(gpu, 256, &bins()), words(gpu, 4, &[0x1234_0000, 0x55, 4, 0]));
            let digit = Digit { by_index, shift: 8 };
            play(gpu, |recording| {
                prox::kth_pick(recording, 1, None, digit, &histogram, &state);
            });
            assert_eq!(
                gpu.fetch(&state.slice()).unwrap()[..3],
                wanted,
                "{} {by_index}",
                gpu.name()
            );
        }
    }
}

#[test]
fn rank_zero_stays() {
    let digit = Digit {
        by_index: true,
        shift: 0,
    };
    for gpu in devices() {
        let (histogram, state) = (words(gpu, 256, &[0; 256]), words(gpu, 4, &[0; 4]));
        play(gpu, |recording| {
            prox::kth_pick(recording, 1, None, digit, &histogram, &state);
        });
        assert_eq!(gpu.fetch(&state.slice()).unwrap(), [0; 4], "{}", gpu.name());
    }
}
