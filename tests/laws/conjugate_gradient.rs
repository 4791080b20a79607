use secateur::gpu::Recording;
use secateur::linalg::masked_conjugate_gradient;

use super::problem::Layer;
use crate::common::{Data, assert_close, devices, f64s, tensor};

#[test]
fn error_never_rises_and_reaches_the_solution() {
    for gpu in devices() {
        let layer = Layer::new(9, 10, 36, 700, 0.1);
        let (inputs, oracle) = (layer.inputs(gpu), layer.oracle());
        let support: Vec<f32> = Data::new(10).below(2, 360).iter().map(|b| *b as f32).collect();
        let target: Vec<f32> = oracle.target.iter().map(|v| *v as f32).collect();
        let [b, mask] = [&target, &support].map(|v| tensor(gpu, 10, 36, v));
        let energy = |v: &[f64]| -> f64 {
            let gradient = oracle.gradient(v);
            (0..v.len())
                .map(|i| 0.5 * v[i] * (gradient[i] - oracle.target[i]))
                .sum()
        };
        let mut last = f64::INFINITY;
        for steps in [1, 2, 4, 8, 16, 60] {
            let v = tensor(gpu, 10, 36, &vec![0.0; 360]);
            let mut recording = Recording::new();
            masked_conjugate_gradient(&mut recording, gpu, inputs.gram(), &b, &mask, &v, steps).unwrap();
            gpu.submit(recording).unwrap();
            let found = v.fetch(gpu).unwrap();
            assert!(
                found.iter().zip(&support).all(|(v, s)| *s != 0.0 || *v == 0.0),
                "support left"
            );
            let now = energy(&f64s(&found));
            assert!(
                now <= last + 1e-6 * last.abs().min(1e6),
                "{}: rose from {last} to {now}",
                gpu.name()
            );
            last = now;
            if steps == 60 {
                assert_close(gpu.name(), &found, &oracle.solve_on(&support), 1e-3);
            }
        }
    }
}
