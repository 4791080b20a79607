use secateur::ops::dense;

use crate::common::{Data, assert_close, devices, f64s, play, tensor};

#[test]
fn symmetric_from_the_upper_triangle() {
    for gpu in devices() {
        for n in [1, 2, 15, 16, 17, 33, 131] {
            let mut data = Data::new(7);
            let upper = data.uniform(n * n);
            // What lies below the diagonal must not be read.
            let start: Vec<f32> = (0..n * n)
                .map(|i| if i % n < i / n { f32::NAN } else { upper[i] })
                .collect();
            let guard = data.uniform(n);
            let x = tensor(gpu, n + 1, n, &[start, guard.clone()].concat());
            play(gpu, |recording| dense::mirror(recording, &x.row_window(0, n), 0.3));
            let at = |i: usize, j: usize| f64::from(0.3f32) * f64::from(upper[i.min(j) * n + i.max(j)]);
            let mut wanted: Vec<f64> = (0..n * n).map(|i| at(i / n, i % n)).collect();
            wanted.extend(f64s(&guard));
            let found = x.fetch(gpu).unwrap();
            for i in 0..n {
                for j in 0..i {
                    assert_eq!(found[i * n + j], found[j * n + i], "{} n {n} ({i}, {j})", gpu.name());
                }
            }
            let what = format!("{} mirror {n}", gpu.name());
            assert_close(&what, &found, &wanted, f64::from(f32::EPSILON));
        }
    }
}
