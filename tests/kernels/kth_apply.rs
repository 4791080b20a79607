use secateur::ops::prox::{self, Segments};
use secateur::tensor::{DType, Tensor};

use crate::common::{Data, devices, play, poisoned, tensor};

/// Three column blocks, the last one narrower, in a window that starts at row 2 of 21; the second keeps nothing.
#[test]
fn keeps_what_reaches_the_threshold() {
    let cut = Segments {
        cols: 19,
        height: 17,
        width: 8,
        count: 3,
        base: 2 * 8,
        last: 21 * 8 - 1,
    };
    let (rows, cols) = (cut.height, cut.cols);
    let mut data = Data::new(18);
    let mut v: Vec<f32> = data.below(5, rows * cols).iter().map(|v| 2.0 - *v as f32).collect();
    let mut free: Vec<f32> = data.below(4, rows * cols).iter().map(|v| f32::from(*v > 0)).collect();
    let one = 1f32.to_bits() << 1;
    let state = [one, 70, 1, 0, 0, 0, 0, 0, one, 101, 2, 0];
    // The elements exactly at the two thresholds: reversed index 70 of the first block, 101 of the third.
    for (at, value) in [(10 * cols + 1, 1.0), (6 * cols + 18, -1.0)] {
        (v[at], free[at]) = (value, 1.0);
    }
    let bytes: Vec<u8> = state.iter().flat_map(|v: &u32| v.to_le_bytes()).collect();
    for gpu in devices() {
        let state_tensor = Tensor::upload_stored(gpu, "state", [3, 4], DType::F32, &bytes).unwrap();
        let (v_tensor, free_tensor) = (tensor(gpu, rows, cols, &v), tensor(gpu, rows, cols, &free));
        let (out, support) = (poisoned(gpu, rows, cols), poisoned(gpu, rows, cols));
        play(gpu, |recording| {
            prox::kth_apply(recording, &cut, &v_tensor, &free_tensor, &state_tensor, &out, &support);
        });
        let kept = |i: usize| {
            let segment = i % cols / cut.width;
            let index = 21 * 8 - 1 - ((i / cols + 2) * 8 + i % cols % 8);
            let reaches = v[i].abs() > 1.0 || (v[i].abs() == 1.0 && index >= state[4 * segment + 1] as usize);
            free[i] != 0.0 && segment != 1 && reaches
        };
        let wanted: Vec<f32> = (0..rows * cols).map(|i| f32::from(kept(i))).collect();
        assert_eq!(support.fetch(gpu).unwrap(), wanted, "{}", gpu.name());
        let wanted: Vec<f32> = wanted.iter().zip(&v).map(|(kept, v)| kept * v).collect();
        assert_eq!(out.fetch(gpu).unwrap(), wanted, "{}", gpu.name());
    }
}
