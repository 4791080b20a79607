use secateur::ops::dense;
use secateur::reference::dense::power_step::power_step;

use crate::common::{Data, assert_close, devices, f64s, play, poisoned, tensor};

#[test]
fn state_and_normalised_vector() {
    for gpu in devices() {
        for n in [1, 63, 64, 65, 131, 4099] {
            let mut data = Data::new(10);
            let (mut x, y) = (data.uniform(n), data.uniform(n));
            let norm = x.iter().map(|v| v * v).sum::<f32>().sqrt();
            x.iter_mut().for_each(|v| *v /= norm);
            let (x_tensor, y_tensor, state) = (tensor(gpu, 1, n, &x), tensor(gpu, 1, n, &y), poisoned(gpu, 1, 4));
            play(gpu, |recording| {
                dense::power_step(recording, &y_tensor, &x_tensor, &state)
            });
            let mut wanted = f64s(&x);
            let numbers = power_step(&f64s(&y), &mut wanted);
            let what = format!("{} power step {n}", gpu.name());
            let tolerance = 8.0 * f64::from(f32::EPSILON) * (n as f64).sqrt();
            assert_close(&what, &state.fetch(gpu).unwrap(), &numbers, tolerance);
            assert_close(&what, &x_tensor.fetch(gpu).unwrap(), &wanted, tolerance);
        }
    }
}

#[test]
fn zero_leaves_the_vector() {
    for gpu in devices() {
        let (x, y) = (tensor(gpu, 1, 3, &[1.0, 2.0, 3.0]), tensor(gpu, 1, 3, &[0.0; 3]));
        let state = poisoned(gpu, 1, 4);
        play(gpu, |recording| dense::power_step(recording, &y, &x, &state));
        assert_eq!(x.fetch(gpu).unwrap(), [1.0, 2.0, 3.0], "{}", gpu.name());
        assert_eq!(state.fetch(gpu).unwrap(), [0.0; 4], "{}", gpu.name());
    }
}

/// Repeated with gemv, the largest eigenvalue of a small matrix comes out.
#[test]
fn power_iteration() {
    for gpu in devices() {
        // Eigenvalues 4 and 2.
        let h = tensor(gpu, 2, 2, &[3.0, 1.0, 1.0, 3.0]);
        let (x, y, state) = (tensor(gpu, 1, 2, &[1.0, 0.0]), poisoned(gpu, 1, 2), poisoned(gpu, 1, 4));
        play(gpu, |recording| {
            for _ in 0..30 {
                dense::gemv(recording, &h, &x, 0, &y);
                dense::power_step(recording, &y, &x, &state);
            }
        });
        let found = state.fetch(gpu).unwrap();
        assert_close(gpu.name(), &found[..2], &[4.0, 4.0], 4.0 * f64::from(f32::EPSILON));
        assert!(found[2] <= 8.0 * f32::EPSILON, "{}: residual {}", gpu.name(), found[2]);
    }
}
