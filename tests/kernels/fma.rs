use secateur::ops::bench::fma;
use secateur::reference::bench::fma::fma as twin;

use crate::common::{assert_close, devices, play, poisoned};

#[test]
fn equals_the_twin() {
    for gpu in devices() {
        for (count, rounds) in [(1, 0), (1, 1), (255, 3), (256, 1), (257, 2), (1031, 7)] {
            let out = poisoned(gpu, 1, count);
            play(gpu, |recording| fma(recording, rounds, [0.75, 0.5], &out));
            let mut wanted = vec![0.0; count];
            twin(0, rounds, [0.75, 0.5], &mut wanted);
            let what = format!("{} {count} lanes, {rounds} rounds", gpu.name());
            // An error of a step shrinks by 3/4 with every later one; then 32 chains are added up.
            let tolerance = 8.0 * f64::from(f32::EPSILON);
            assert_close(&what, &out.fetch(gpu).unwrap(), &wanted, tolerance);
        }
    }
}
