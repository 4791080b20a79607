use secateur::ops::prox;
use secateur::reference::prox::greedy_remove::{InverseBlock, greedy_remove_row};

use crate::common::{Data, devices, f64s, play, tensor};

/// Rows, columns, first column and width of the block, and removals: none, all, around the rows of a workgroup.
const BLOCKS: [[usize; 5]; 7] = [
    [1, 1, 0, 1, 1],
    [3, 130, 0, 127, 63],
    [4, 128, 0, 128, 64],
    [5, 300, 16, 128, 128],
    [131, 7, 2, 5, 2],
    [2, 40, 3, 30, 0],
    [1, 257, 129, 128, 64],
];

/// Multiples of 1/4 between -2 and 2, so that every sum is exact and ties are ties on every device.
fn quarters(data: &mut Data, count: usize) -> Vec<f32> {
    data.below(17, count).iter().map(|v| *v as f32 / 4.0 - 2.0).collect()
}

#[test]
fn equals_the_twin() {
    for gpu in devices() {
        for [rows, cols, first, width, count] in BLOCKS {
            let mut data = Data::new(51);
            let mut gram = quarters(&mut data, width * cols);
            for j in 0..width {
                gram[j * cols + first + j] = 3.0;
                (0..j).for_each(|i| gram[j * cols + first + i] = gram[i * cols + first + j]);
            }
            let (w, before) = (quarters(&mut data, rows * cols), quarters(&mut data, rows * cols));
            let old = vec![f32::NAN; rows * cols];
            let removed = tensor(gpu, rows, cols, &old);
            let inputs = [
                tensor(gpu, width, cols, &gram),
                tensor(gpu, rows, cols, &w),
                tensor(gpu, rows, cols, &before),
            ];
            play(gpu, |recording| {
                prox::greedy_remove(recording, inputs.each_ref(), first, count, &removed)
            });
            let found = removed.fetch(gpu).unwrap();
            let (gram, w, before) = (f64s(&gram), f64s(&w), f64s(&before));
            let block = InverseBlock {
                gram: &gram,
                cols,
                first,
                count,
            };
            let what = format!("{} {rows}x{cols}, {count} of {width} from {first}", gpu.name());
            for (row, found) in found.chunks(cols).enumerate() {
                let mut wanted = vec![f64::NAN; width];
                let at = row * cols + first..row * cols + first + width;
                greedy_remove_row(&block, &w[at.clone()], &before[at], &mut wanted);
                assert_eq!(f64s(&found[first..first + width]), wanted, "{what}, row {row}");
                let outside = found[..first].iter().chain(&found[first + width..]);
                assert!(
                    outside.into_iter().all(|v| v.is_nan()),
                    "{what}: columns outside changed"
                );
            }
        }
    }
}

/// By hand: alone the first column is cheapest; beside it the third, which undoes it, is cheaper than the second.
#[test]
fn what_was_removed_counts() {
    for gpu in devices() {
        let gram = tensor(gpu, 3, 3, &[1.0, 0.0, -0.9, 0.0, 1.0, 0.0, -0.9, 0.0, 1.0]);
        let w = tensor(gpu, 1, 3, &[1.0, 1.5, 2.0]);
        let before = tensor(gpu, 1, 3, &[0.0; 3]);
        let removed = tensor(gpu, 1, 3, &[f32::NAN; 3]);
        play(gpu, |recording| {
            prox::greedy_remove(recording, [&gram, &w, &before], 0, 2, &removed)
        });
        assert_eq!(removed.fetch(gpu).unwrap(), [1.0, 0.0, 2.0], "{}", gpu.name());
    }
}
