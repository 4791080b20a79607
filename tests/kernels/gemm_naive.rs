use secateur::ops::bench::gemm_naive;
use secateur::reference::bench::gemm_naive::gemm_naive as twin;

use crate::common::{Data, assert_close, devices, f64s, play, poisoned, tensor};

#[test]
fn equals_the_twin() {
    for gpu in devices() {
        for [rows, cols, inner] in [[1, 1, 1], [15, 16, 17], [17, 15, 16], [7, 131, 33], [300, 2, 5]] {
            let mut data = Data::new(61);
            let (a, b) = (data.uniform(rows * inner), data.uniform(inner * cols));
            let [left, right] = [(rows, inner, &a), (inner, cols, &b)].map(|(r, c, v)| tensor(gpu, r, c, v));
            let out = poisoned(gpu, rows, cols);
            play(gpu, |recording| gemm_naive(recording, &left, &right, &out));
            let mut wanted = vec![0.0; rows * cols];
            twin(inner, cols, &f64s(&a), &f64s(&b), &mut wanted);
            let what = format!("{} {rows}x{cols}x{inner}", gpu.name());
            let tolerance = 8.0 * f64::from(f32::EPSILON) * (inner.max(1) as f64).sqrt();
            assert_close(&what, &out.fetch(gpu).unwrap(), &wanted, tolerance);
        }
    }
}
