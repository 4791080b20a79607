//! Correlated updates against explicit Kronecker products.

use secateur::gpu::Gpu;
use secateur::prune::surgeon::{UpdateSettings, Updated, correlated_update};

use super::surgeon::Case;
use crate::common::{Data, assert_close, devices, f64s, open, tensor};

const ONE: UpdateSettings = UpdateSettings {
    max_correlate: 1 << 20,
    sweeps: 1,
};

/// A support with this share of zeros, none of them in the first row.
fn random(seed: u64, [m, n]: [usize; 2], zeros: f32) -> Vec<f32> {
    let keep = |(i, v): (usize, &f32)| f32::from(v.abs() >= zeros || (i < n && m > 1));
    Data::new(seed).uniform(m * n).iter().enumerate().map(keep).collect()
}

/// Two of four in all rows but one.
fn two_of_four([m, n]: [usize; 2]) -> Vec<f32> {
    (0..m * n)
        .map(|i| f32::from((i + i / n) % 4 < 2 || i / n == 2))
        .collect()
}

fn run(gpu: &Gpu, case: &Case, support: &[f32], settings: &UpdateSettings) -> (Vec<f32>, Updated) {
    let [m, n] = case.shape;
    let (curvature, w) = (case.curvature(gpu), case.upload(gpu));
    let updated = correlated_update(gpu, &curvature, &w, &tensor(gpu, m, n, support), settings).unwrap();
    let found = w.fetch(gpu).unwrap();
    for (v, s) in found.iter().zip(support) {
        assert!(*s == 1.0 || *v == 0.0, "zero where it was removed");
    }
    (found, updated)
}

#[test]
fn one_chunk_is_the_constrained_minimiser() {
    for gpu in devices() {
        // Where channels are damped by their own energy, the two inverses that the chunk's system is made of are worse
        // conditioned.
        let cases = [[6, 8], [5, 12], [7, 9]].into_iter();
        let cases = cases.flat_map(|shape| [(Case::new(90, shape).by_the_mean(), 1.0), (Case::new(90, shape), 4.0)]);
        for (mut case, bound) in cases {
            let shape = case.shape;
            let mut before = vec![1.0f32; shape[0] * shape[1]];
            for support in [random(91, shape, 0.1), random(92, shape, 0.5), two_of_four(shape)] {
                // Earlier zeros are held too.
                before.iter_mut().zip(&support).for_each(|(b, s)| *b *= s);
                let plain = case.plain();
                let (found, updated) = run(gpu, &case, &before, &ONE);
                let what = format!("{} {shape:?}", gpu.name());
                let wanted = plain.minimiser(&before);
                assert_close(&what, &found, &wanted, bound * plain.rounding());
                assert_eq!([updated.chunks, updated.escalations], [1, 0], "{what}");
                let zeroed = plain.weight.iter().zip(&before).map(|(w, s)| w * f64::from(*s));
                let zeroed: Vec<f64> = zeroed.collect();
                let [least, most] = [&wanted, &zeroed].map(|v| plain.objective(&plain.change(v)));
                let close = |found: f64, wanted: f64| (found - wanted).abs() <= 4.0 * plain.rounding() * most;
                assert!(
                    close(updated.objective, least) && close(updated.zeroed, most),
                    "{what}: {updated:?} {least} {most}"
                );
                assert!(!updated.rejected && least < most, "{what}");
                case.weight = found;
            }
        }
    }
}

/// The chunks the device takes: consecutive rows of at most `most` zeros, longer rows split.
fn chunks(support: &[f32], n: usize, most: usize) -> Vec<Vec<usize>> {
    let mut chunks: Vec<Vec<usize>> = Vec::new();
    for row in 0..support.len() / n {
        let zeros: Vec<usize> = (row * n..(row + 1) * n).filter(|i| support[*i] == 0.0).collect();
        match chunks.last_mut() {
            Some(last) if last.len() + zeros.len() <= most => last.extend(zeros),
            _ => chunks.extend(zeros.chunks(most).map(<[usize]>::to_vec)),
        }
    }
    chunks
}

#[test]
fn chunks_follow_one_another() {
    let small = open("cpu", Some(16 * 1024));
    for gpu in devices().iter().chain([&small]) {
        for (shape, most) in [
            ([6, 8], 7),
            ([7, 13], 4),
            ([33, 70], 90),
            ([17, 131], 70),
            ([1, 65], 10),
            ([64, 3], 63),
        ] {
            let case = Case::new(93, shape);
            let support = random(94, shape, 0.3);
            let plain = case.plain();
            let chunks = chunks(&support, shape[1], most);
            let settings = UpdateSettings {
                max_correlate: most,
                sweeps: 1,
            };
            let (found, updated) = run(gpu, &case, &support, &settings);
            let what = format!("{} {shape:?} {most}", gpu.name());
            assert_eq!(updated.chunks, chunks.len(), "{what}");
            let [wanted, zeroed] = [plain.updated(&chunks, 1), {
                let pairs = plain.weight.iter().zip(&support);
                pairs.map(|(w, s)| w * f64::from(*s)).collect()
            }];
            let [objective, zeroing] = [&wanted, &zeroed].map(|v| plain.objective(&plain.change(v)));
            assert_eq!(updated.rejected, objective > zeroing, "{what}: {updated:?}");
            let wanted = if updated.rejected { zeroed } else { wanted };
            assert_close(&what, &found, &wanted, plain.rounding());
        }
    }
}

#[test]
fn sweeps_reach_the_minimiser() {
    for gpu in devices() {
        let shape = [6, 8];
        let case = Case::new(95, shape);
        let support = random(96, shape, 0.5);
        let plain = case.plain();
        let wanted = plain.minimiser(&support);
        let objective = |sweeps| {
            let settings = UpdateSettings {
                max_correlate: 6,
                sweeps,
            };
            let (found, updated) = run(gpu, &case, &support, &settings);
            let distance = f64s(&found)
                .iter()
                .zip(&wanted)
                .map(|(v, w)| (v - w).powi(2))
                .sum::<f64>();
            assert!(updated.chunks > 2 && !updated.rejected, "{updated:?}");
            (found, updated.objective, distance)
        };
        let (one, few, many) = (objective(1), objective(4), objective(200));
        assert!(one.1 > few.1 && few.1 >= many.1, "{} {} {}", one.1, few.1, many.1);
        assert!(one.2 > 100.0 * many.2, "one sweep is not enough: {} {}", one.2, many.2);
        assert_close(gpu.name(), &many.0, &wanted, plain.rounding());
    }
}

#[test]
fn nothing_to_remove() {
    for gpu in devices() {
        let case = Case::new(97, [7, 13]);
        let (found, updated) = run(gpu, &case, &[1.0; 91], &ONE);
        assert_eq!((found, updated), (case.weight, Updated::default()));
    }
}

/// The tolerance of this file means something.
#[test]
fn the_tolerance_is_small() {
    for shape in [[6, 8], [33, 70], [17, 131]] {
        let tolerance = Case::new(90, shape).plain().rounding();
        assert!(tolerance < 2e-4, "{shape:?}: {tolerance:.1e}");
    }
}
