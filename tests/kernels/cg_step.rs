use secateur::gpu::Gpu;
use secateur::ops::dense::{Gemm, Layout, gemm};
use secateur::ops::prox;
use secateur::reference::prox::cg_step::{Row, cg_step_row};

use super::ROWWISE;
use crate::common::{Data, assert_close, devices, eliminate, f64s, play, poisoned, tensor};

/// Inputs of one step: ph, support, v, r, p, rs with floors. Row 1 has converged, row 2 has negative curvature.
fn inputs([rows, cols]: [usize; 2]) -> [Vec<f32>; 6] {
    let size = rows * cols;
    let mut data = Data::new(20);
    let support: Vec<f32> = data.below(3, size).iter().map(|v| f32::from(*v > 0)).collect();
    let mask = |values: Vec<f32>| values.iter().zip(&support).map(|(v, s)| v * s).collect::<Vec<f32>>();
    let (v, r, p) = (
        mask(data.uniform(size)),
        mask(data.uniform(size)),
        mask(data.uniform(size)),
    );
    let mut ph = data.uniform(size);
    for (i, (ph, p)) in ph.iter_mut().zip(&p).enumerate() {
        *ph = 0.1 * *ph + if i / cols == 2 { -p } else { *p };
    }
    let mut rs: Vec<f32> = r.chunks(cols).map(|r| r.iter().map(|r| r * r).sum()).collect();
    rs.resize(2 * rows, 1e-8);
    if rows > 1 {
        rs[rows + 1] = rs[1];
    }
    [ph, support, v, r, p, rs]
}

#[test]
fn equals_the_twin() {
    for gpu in devices() {
        for [rows, cols] in ROWWISE {
            let given = inputs([rows, cols]);
            let [ph, support, v, r, p] = std::array::from_fn(|i| tensor(gpu, rows, cols, &given[i]));
            let rs = tensor(gpu, 2, rows, &given[5]);
            play(gpu, |recording| {
                prox::cg_step(recording, &ph, &support, &v, &r, &p, &rs)
            });
            let mut wanted: Vec<Vec<f64>> = given.iter().map(|values| f64s(values)).collect();
            let [ph, support, out @ ..] = &mut wanted[..] else {
                unreachable!("six arrays")
            };
            let [wv, wr, wp, wrs] = out else {
                unreachable!("six arrays")
            };
            let (norms, floors) = wrs.split_at_mut(rows);
            for (i, (rs, floor)) in norms.iter_mut().zip(floors).enumerate() {
                let at = i * cols..(i + 1) * cols;
                let row = Row {
                    ph: &ph[at.clone()],
                    support: &support[at.clone()],
                };
                let (v, r, p) = (&mut wv[at.clone()], &mut wr[at.clone()], &mut wp[at]);
                cg_step_row(row, v, r, p, rs, *floor);
            }
            let tolerance = 32.0 * f64::from(f32::EPSILON) * (cols as f64).sqrt();
            for (name, found, wanted) in [("v", v, wv), ("r", r, wr), ("p", p, wp), ("rs", rs, wrs)] {
                let what = format!("{} cg_step {rows}x{cols} {name}", gpu.name());
                assert_close(&what, &found.fetch(gpu).unwrap(), wanted, tolerance);
            }
        }
    }
}

/// A well-conditioned symmetric matrix.
fn spd(n: usize) -> Vec<f32> {
    let a = Data::new(21).uniform(n * n);
    let dot = |i: usize, j: usize| (0..n).map(|k| a[k * n + i] * a[k * n + j]).sum::<f32>();
    (0..n * n)
        .map(|i| dot(i / n, i % n) / n as f32 + f32::from(i / n == i % n))
        .collect()
}

/// Solves `v H = b` on a support in f64, by elimination.
fn solve(n: usize, h: &[f64], b: &[f64], support: &[f32]) -> Vec<f64> {
    let kept: Vec<usize> = (0..n).filter(|&i| support[i] != 0.0).collect();
    let matrix = kept
        .iter()
        .map(|&i| kept.iter().map(|&j| h[i * n + j]).collect())
        .collect();
    let mut v = vec![0.0; n];
    for (value, &i) in eliminate(matrix, kept.iter().map(|&i| b[i]).collect())
        .iter()
        .zip(&kept)
    {
        v[i] = *value;
    }
    v
}

fn iterate(gpu: &Gpu, [m, n]: [usize; 2], h: &[f32], b: &[f32], support: &[f32], steps: usize) -> Vec<f32> {
    let (h, b, support) = (tensor(gpu, n, n, h), tensor(gpu, m, n, b), tensor(gpu, m, n, support));
    let v = tensor(gpu, m, n, &vec![0.0; m * n]);
    let [product, r, p] = std::array::from_fn(|_| poisoned(gpu, m, n));
    let rs = poisoned(gpu, 2, m);
    play(gpu, |recording| {
        gemm(recording, gpu, &Gemm::new(&v, &h, Layout::NN, &product));
        prox::cg_begin(recording, &product, &b, &support, &r, &p, &rs);
        for _ in 0..steps {
            gemm(recording, gpu, &Gemm::new(&p, &h, Layout::NN, &product));
            prox::cg_step(recording, &product, &support, &v, &r, &p, &rs);
        }
    });
    v.fetch(gpu).unwrap()
}

/// 30 steps reach the masked solution, and many more stay there, also with few variables a row; a row without a support
/// stays zero.
#[test]
fn reaches_the_solution() {
    let [m, n] = [6, 40];
    let h = spd(n);
    let mut data = Data::new(22);
    let b = data.uniform(m * n);
    let mut support: Vec<f32> = data.below(2, m * n).iter().map(|v| *v as f32).collect();
    support[..n].fill(0.0);
    support[n..2 * n].fill(1.0);
    support[2 * n + 3..3 * n].fill(0.0);
    for (gpu, steps) in devices().iter().flat_map(|gpu| [(gpu, 30), (gpu, 600)]) {
        let found = iterate(gpu, [m, n], &h, &b, &support, steps);
        let wanted: Vec<f64> = (0..m)
            .flat_map(|i| solve(n, &f64s(&h), &f64s(&b[i * n..][..n]), &support[i * n..][..n]))
            .collect();
        let tolerance = 32.0 * f64::from(f32::EPSILON) * (n as f64).sqrt();
        assert_close(gpu.name(), &found, &wanted, tolerance);
        assert!(
            found.iter().zip(&support).all(|(v, s)| *s != 0.0 || *v == 0.0),
            "off the support"
        );
    }
}
