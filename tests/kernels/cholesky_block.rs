use secateur::ops::factor::{BLOCK, CholeskyBlock, cholesky_block};
use secateur::reference::factor::cholesky_block as twin;

use crate::common::{Data, assert_close, devices, f64s, play, poisoned, tensor};

/// Unit diagonal, positive definite.
fn correlation(seed: u64, n: usize) -> Vec<f32> {
    let mut data = Data::new(seed);
    let noise = data.uniform(n * n);
    let at = |i: usize, j: usize| {
        if i == j {
            1.0
        } else {
            0.9 / n as f32 * noise[i.min(j) * n + i.max(j)]
        }
    };
    (0..n * n).map(|i| at(i / n, i % n)).collect()
}

#[test]
fn equals_the_twin_inside_a_larger_matrix() {
    for gpu in devices() {
        for size in [1, 2, 31, 63, BLOCK] {
            let (col, cols) = (3, size + 7);
            let block = correlation(40, size);
            let mut rows = Data::new(41).uniform(size * cols);
            for (row, line) in block.chunks(size).enumerate() {
                for (c, value) in line.iter().enumerate() {
                    // What lies above the diagonal is not read.
                    rows[row * cols + col + c] = if c <= row { -value } else { f32::NAN };
                }
            }
            let a = tensor(gpu, size, cols, &rows);
            let (inverse, transposed) = (poisoned(gpu, size, size), poisoned(gpu, size, size));
            let state = tensor(gpu, 1, 2, &[0.0; 2]);
            let call = CholeskyBlock {
                a: &a,
                col,
                index: 9,
                sign: -1.0,
                floor: 1e-6,
            };
            play(gpu, |recording| {
                cholesky_block(recording, &call, &inverse, &transposed, &state)
            });
            let mut wanted = vec![0.0; size * size];
            twin::cholesky_block(size, &f64s(&block), 1e-6, &mut wanted);
            let what = format!("{} {size}", gpu.name());
            let tolerance = 8.0 * size as f64 * f64::from(f32::EPSILON);
            assert_close(&what, &inverse.fetch(gpu).unwrap(), &wanted, tolerance);
            let turned: Vec<f64> = (0..size * size).map(|i| wanted[i % size * size + i / size]).collect();
            assert_close(&what, &transposed.fetch(gpu).unwrap(), &turned, tolerance);
            assert_eq!(state.fetch(gpu).unwrap(), [0.0, 0.0], "{what}");
        }
    }
}

#[test]
fn failed_pivots_are_counted_and_the_first_is_named() {
    for gpu in devices() {
        for bad in [0.0, -1.0, f32::NAN] {
            let size = 5;
            let mut block = correlation(42, size);
            block[2 * size + 2] = bad;
            block[4 * size + 4] = bad;
            let a = tensor(gpu, size, size, &block);
            let (inverse, transposed) = (poisoned(gpu, size, size), poisoned(gpu, size, size));
            let state = tensor(gpu, 1, 2, &[0.0; 2]);
            let call = CholeskyBlock {
                a: &a,
                col: 0,
                index: 10,
                sign: 1.0,
                floor: 1e-6,
            };
            play(gpu, |recording| {
                cholesky_block(recording, &call, &inverse, &transposed, &state);
            });
            assert_eq!(state.fetch(gpu).unwrap(), [2.0, 13.0], "{} {bad}", gpu.name());
        }
    }
}
