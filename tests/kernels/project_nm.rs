use secateur::gpu::Gpu;
use secateur::ops::prox;
use secateur::reference::prox::project_nm::project_nm;

use crate::common::{Data, devices, f64s, play, poisoned, tensor};

const PATTERNS: [[usize; 2]; 7] = [[1, 1], [1, 2], [2, 4], [3, 4], [4, 8], [5, 7], [16, 16]];

/// Few levels: many ties, zeros among them.
fn levels(data: &mut Data, n: usize) -> Vec<f32> {
    data.below(9, n).iter().map(|v| (*v as f32 - 4.0) / 4.0).collect()
}

fn project(gpu: &Gpu, [n, m]: [usize; 2], cols: usize, v: &[f32], free: &[f32]) -> [Vec<f32>; 2] {
    let rows = v.len() / cols;
    let (v, free) = (tensor(gpu, rows, cols, v), tensor(gpu, rows, cols, free));
    let (out, support) = (poisoned(gpu, rows, cols), poisoned(gpu, rows, cols));
    play(gpu, |recording| {
        prox::project_nm(recording, &v, &free, n, m, &out, &support);
    });
    [out.fetch(gpu).unwrap(), support.fetch(gpu).unwrap()]
}

#[test]
fn equals_the_twin() {
    for gpu in devices() {
        for [n, m] in PATTERNS {
            for [rows, groups] in [[1, 1], [7, 3], [1, 300], [131, 1]] {
                let (cols, size) = (m * groups, m * groups * rows);
                let mut data = Data::new(14);
                let free: Vec<f32> = data.below(3, size).iter().map(|v| f32::from(*v > 0)).collect();
                for v in [levels(&mut data, size), data.uniform(size)] {
                    let [out, support] = project(gpu, [n, m], cols, &v, &free);
                    let (mut wanted, mut kept) = (vec![0.0; size], vec![0.0; size]);
                    project_nm(n, m, &f64s(&v), &f64s(&free), &mut wanted, &mut kept);
                    let what = format!("{} {n}:{m} {rows}x{cols}", gpu.name());
                    assert_eq!(f64s(&out), wanted, "{what}");
                    assert_eq!(f64s(&support), kept, "{what}");
                }
            }
        }
    }
}

/// Keeps exactly n, the largest, and a second projection changes nothing.
#[test]
fn exact_nearest_idempotent() {
    for gpu in devices() {
        for [n, m] in PATTERNS {
            let (cols, rows) = (m * 5, 11);
            let mut data = Data::new(15);
            let (v, free) = (levels(&mut data, cols * rows), vec![1.0; cols * rows]);
            let [out, support] = project(gpu, [n, m], cols, &v, &free);
            let groups = v.chunks(m).zip(support.chunks(m));
            for (v, support) in groups {
                assert_eq!(support.iter().sum::<f32>(), n as f32, "{} {n}:{m}", gpu.name());
                let least = (0..m)
                    .filter(|i| support[*i] == 1.0)
                    .map(|i| v[i].abs())
                    .fold(2.0, f32::min);
                let lost = (0..m)
                    .filter(|i| support[*i] == 0.0)
                    .map(|i| v[i].abs())
                    .fold(0.0, f32::max);
                assert!(least >= lost, "{} {n}:{m}: kept {least}, lost {lost}", gpu.name());
            }
            let again = project(gpu, [n, m], cols, &out, &support);
            assert_eq!(again, [out, support], "{} {n}:{m} twice", gpu.name());
        }
    }
}

#[test]
fn nan_is_largest() {
    for gpu in devices() {
        let v = [1.0, f32::NAN, f32::INFINITY, -5.0];
        // Alone and in a row of many groups, which may be ranked side by side.
        for groups in [1, 40] {
            let [_, support] = project(gpu, [2, 4], 4 * groups, &v.repeat(groups), &vec![1.0; 4 * groups]);
            assert_eq!(support, [0.0, 1.0, 1.0, 0.0].repeat(groups), "{}", gpu.name());
        }
    }
}
