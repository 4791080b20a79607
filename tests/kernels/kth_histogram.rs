use secateur::ops::prox::{self, Digit, Segments};
use secateur::tensor::{DType, Tensor};

use crate::common::{Data, devices, play, tensor};

/// Two column blocks, the second narrower, in a window that starts at row 3 of 12.
const CUT: Segments = Segments {
    cols: 13,
    height: 9,
    width: 8,
    count: 2,
    base: 3 * 8,
    last: 12 * 8 - 1,
};

fn words(gpu: &secateur::gpu::Gpu, cols: usize, values: &[u32]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Tensor::upload_stored(gpu, "words", [values.len() / cols, cols], DType::F32, &bytes).unwrap()
}

#[test]
fn counts_one_digit_of_what_matches() {
    let (rows, cols) = (CUT.height, CUT.cols);
    let mut data = Data::new(17);
    let v: Vec<f32> = data.below(5, rows * cols).iter().map(|v| 0.5 - *v as f32).collect();
    let free: Vec<f32> = data.below(3, rows * cols).iter().map(|v| f32::from(*v > 0)).collect();
    // Magnitude 1.5 in both segments, and a reversed index.
    let known = 1.5f32.to_bits() << 1;
    let state = [known, 0x0000_0040, 3, 0, known, 0x0000_0001, 2, 0];
    let digits = [(false, 24), (false, 16), (false, 0), (true, 8), (true, 0)];
    for gpu in devices() {
        for (by_index, shift) in digits {
            let (v_tensor, free_tensor) = (tensor(gpu, rows, cols, &v), tensor(gpu, rows, cols, &free));
            let (state_tensor, histogram) = (words(gpu, 4, &state), words(gpu, 256, &[5; 512]));
            let digit = Digit { by_index, shift };
            play(gpu, |recording| {
                prox::kth_histogram(
                    recording,
                    &CUT,
                    digit,
                    &v_tensor,
                    &free_tensor,
                    &state_tensor,
                    &histogram,
                );
            });
            let mut wanted = vec![5u32; 512];
            for i in (0..rows * cols).filter(|&i| free[i] != 0.0) {
                let segment = i % cols / CUT.width;
                let index = (CUT.last - CUT.base - i / cols * CUT.width - i % cols % CUT.width) as u64;
                let magnitude = u64::from(v[i].to_bits() << 1);
                let [first, second] = [state[4 * segment], state[4 * segment + 1]].map(u64::from);
                let (key, known) = if by_index { (index, second) } else { (magnitude, first) };
                if key >> (shift + 8) == known >> (shift + 8) && (!by_index || magnitude == first) {
                    wanted[256 * segment + (key >> shift) as usize % 256] += 1;
                }
            }
            let found = gpu.fetch(&histogram.slice()).unwrap();
            assert_eq!(found, wanted, "{} {digit:?}", gpu.name());
        }
    }
}
