use secateur::ops::prox;
use secateur::reference::prox::obs_score::obs_score_row;

use crate::common::{Data, assert_close, devices, f64s, play, poisoned, tensor};

/// Rows, columns, first column and width of the block.
const BLOCKS: [[usize; 4]; 6] = [
    [1, 1, 0, 1],
    [1, 300, 20, 128],
    [2, 128, 0, 128],
    [257, 9, 4, 5],
    [19, 131, 128, 3],
    [3, 257, 129, 128],
];

#[test]
fn equals_the_twin() {
    for gpu in devices() {
        for [rows, cols, first, width] in BLOCKS {
            let mut data = Data::new(31);
            let (w, free) = (data.uniform(rows * cols), data.uniform(rows * cols));
            let u: Vec<f32> = data.uniform(width * cols).iter().map(|v| v + 1.5).collect();
            let [wt, ft] = [&w, &free].map(|v| tensor(gpu, rows, cols, v));
            let ut = tensor(gpu, width, cols, &u);
            let [score, candidate] = std::array::from_fn(|_| poisoned(gpu, rows, width));
            play(gpu, |recording| {
                prox::obs_score(recording, [&wt, &ft], &ut, first, [&score, &candidate])
            });
            let mut wanted = vec![f64::NAN; rows * width];
            let mut part = Vec::new();
            for (row, out) in wanted.chunks_mut(width).enumerate() {
                let at = row * cols + first..row * cols + first + width;
                obs_score_row(first, cols, &f64s(&w[at.clone()]), &f64s(&u), out);
                part.extend_from_slice(&free[at]);
            }
            let what = format!("{} obs_score {rows}x{cols}, {width} from {first}", gpu.name());
            // A division of Vulkan is right to 2.5 ulp.
            let tolerance = 3.0 * f64::from(f32::EPSILON);
            assert_close(&what, &score.fetch(gpu).unwrap(), &wanted, tolerance);
            assert_eq!(candidate.fetch(gpu).unwrap(), part, "{what}");
        }
    }
}
