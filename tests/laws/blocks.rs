//! Work in blocks of rows that fit a binding gives what it gives in one.

use secateur::linalg::add_product;

use crate::common::{Data, assert_close, devices, f64s, open, play, tensor};

/// Twice onto what is there, with a binding of 65 rows: blocks of 64, and the rest.
#[test]
fn product_in_blocks() {
    for gpu in devices() {
        for [tokens, rows, cols] in [[1, 1, 1], [7, 5, 3], [33, 65, 40], [20, 200, 130]] {
            let gpu = open(
                if gpu.is_host() { "cpu" } else { gpu.name() },
                Some((65 * 4 * cols.max(100)) as u64),
            );
            let mut data = Data::new(8);
            let (left, right) = (data.normal(tokens * rows), data.normal(tokens * cols));
            let begun = data.normal(rows * cols);
            let total = tensor(&gpu, rows, cols, &begun);
            let (a, b) = (tensor(&gpu, tokens, rows, &left), tensor(&gpu, tokens, cols, &right));
            for _ in 0..2 {
                play(&gpu, |recording| add_product(recording, &gpu, [&a, &b], &total));
            }
            let (left, right) = (f64s(&left), f64s(&right));
            let product = |i: usize, j: usize| {
                (0..tokens)
                    .map(|t| left[t * rows + i] * right[t * cols + j])
                    .sum::<f64>()
            };
            let wanted: Vec<f64> = begun
                .iter()
                .enumerate()
                .map(|(at, begun)| f64::from(*begun) + 2.0 * product(at / cols, at % cols))
                .collect();
            let what = format!("{} {tokens} tokens {rows}x{cols}", gpu.name());
            assert_close(&what, &total.fetch(&gpu).unwrap(), &wanted, 1e-6 * tokens as f64);
        }
    }
}
