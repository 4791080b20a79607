//! Rows, columns and units against explicit Kronecker products.

use secateur::gpu::Gpu;
use secateur::prune::surgeon::{
    UnitPart, column_magnitudes, flap_scores, joint_column_cost, joint_row_cost, osscar_cost, remove_columns,
    remove_rows, unit_costs, wanda_sp_scores,
};

use super::surgeon::{Case, Plain, SHAPES, TOKENS, inverse};
use crate::common::{assert_close, devices, eliminate, open};

/// Every `step`-th number below `n`, from `first`.
fn every(n: usize, first: usize, step: usize) -> Vec<usize> {
    (first..n).step_by(step).collect()
}

fn support([m, n]: [usize; 2], rows: &[usize], cols: &[usize]) -> Vec<f32> {
    (0..m * n)
        .map(|i| f32::from(!rows.contains(&(i / n)) && !cols.contains(&(i % n))))
        .collect()
}

fn removed(gpu: &Gpu, case: &Case, rows: &[usize], cols: &[usize]) -> Vec<f32> {
    let (curvature, w) = (case.curvature(gpu), case.upload(gpu));
    remove_rows(gpu, &curvature.outputs, &w, rows).unwrap();
    remove_columns(gpu, &curvature.inputs, &w, cols).unwrap();
    assert_eq!([&curvature.outputs, &curvature.inputs].map(|s| s.escalations()), [0, 0]);
    let found = w.fetch(gpu).unwrap();
    let gone = support(case.shape, rows, cols);
    assert!(
        found.iter().zip(&gone).all(|(v, s)| *s == 1.0 || *v == 0.0),
        "zero where removed"
    );
    found
}

#[test]
fn rows_and_columns_are_the_constrained_minimiser() {
    for gpu in devices() {
        for shape in [[6, 8], [7, 5], [9, 7]] {
            let case = Case::new(100, shape);
            let plain = case.plain();
            for (rows, cols) in [
                (vec![2], vec![]),
                (every(shape[0], 1, 2), vec![]),
                (vec![], vec![4]),
                (vec![], every(shape[1], 0, 2)),
                // Rows, then columns, is the joint optimum.
                (vec![0, 3], every(shape[1], 1, 3)),
                (vec![], vec![]),
            ] {
                let found = removed(gpu, &case, &rows, &cols);
                let wanted = plain.minimiser(&support(shape, &rows, &cols));
                let what = format!("{} {shape:?} {rows:?} {cols:?}", gpu.name());
                assert_close(&what, &found, &wanted, plain.rounding());
            }
        }
    }
}

/// `W − L (L[R,R])⁻¹ W[R,:]` for the columns L of an inverse, plainly.
fn rows_removed(plain: &Plain, rows: &[usize]) -> Vec<f64> {
    let [m, n] = plain.shape;
    let gi = &plain.inverses()[0];
    let mut w = plain.weight.clone();
    for c in 0..n {
        let block = rows.iter().map(|i| rows.iter().map(|j| gi[i * m + j]).collect());
        let lambda = eliminate(block.collect(), rows.iter().map(|i| plain.weight[i * n + c]).collect());
        for i in 0..m {
            w[i * n + c] -= rows.iter().zip(&lambda).map(|(j, l)| gi[i * m + j] * l).sum::<f64>();
        }
    }
    rows.iter().for_each(|i| w[i * n..(i + 1) * n].fill(0.0));
    w
}

/// Larger ones, and matrices in panels.
#[test]
fn many_rows_at_once() {
    let small = open("cpu", Some(16 * 1024));
    for gpu in devices().iter().chain([&small]) {
        for (shape, rows) in [
            ([131, 17], every(131, 3, 2)),
            ([70, 33], every(70, 0, 9)),
            ([200, 5], every(200, 1, 3)),
        ] {
            let case = Case::new(101, shape);
            let plain = case.plain();
            let found = removed(gpu, &case, &rows, &[]);
            let what = format!("{} {shape:?}", gpu.name());
            assert_close(&what, &found, &rows_removed(&plain, &rows), plain.rounding());
        }
    }
}

/// `1/2 tr((L_RR)⁻¹ X_R F X_Rᵀ)`, plainly: L has a channel per row of x, F one per column.
fn joint(x: &dyn Fn(usize, usize) -> f64, lines: &[usize], [l, f]: [&[f64]; 2], [m, n]: [usize; 2]) -> f64 {
    let k = lines.len();
    let block: Vec<f64> = (0..k * k).map(|i| l[lines[i / k] * m + lines[i % k]]).collect();
    let inverse = inverse(k, &block);
    let form = |i: usize, j: usize| (0..n * n).map(|c| x(i, c / n) * f[c] * x(j, c % n)).sum::<f64>();
    let trace = (0..k * k).map(|i| inverse[i] * form(lines[i % k], lines[i / k]));
    0.5 * trace.sum::<f64>()
}

#[test]
fn joint_costs() {
    let small = open("cpu", Some(16 * 1024));
    for gpu in devices().iter().chain([&small]) {
        for shape in SHAPES {
            let [m, n] = shape;
            let case = Case::new(102, shape);
            let (plain, curvature, w) = (case.plain(), case.curvature(gpu), case.upload(gpu));
            let ([gi, ai], [g, a]) = (plain.inverses(), &plain.factors);
            let weight = |i: usize, j: usize| plain.weight[i * n + j];
            let turned = |i: usize, j: usize| weight(j, i);
            let close = |what: &str, found: f64, wanted: f64| {
                let error = (found - wanted).abs() / wanted;
                let tolerance = 4.0 * plain.rounding();
                assert!(error <= tolerance, "{} {shape:?} {what}: {error:.1e}", gpu.name());
            };
            for step in [1, 2, 5] {
                let (rows, cols) = (every(m, 0, step), every(n, 0, step));
                let found = joint_row_cost(gpu, &curvature, &w, &rows).unwrap();
                close("rows", found, joint(&weight, &rows, [&gi, a], shape));
                let found = joint_column_cost(gpu, &curvature, &w, &cols).unwrap();
                close("columns", found, joint(&turned, &cols, [&ai, g], [n, m]));
                // IAD divided A; where there is no G nothing does.
                let unit: Vec<f64> = (0..m * m).map(|i| f64::from(u8::from(i / m == i % m))).collect();
                let found = osscar_cost(gpu, &curvature.inputs, &w, &cols).unwrap();
                let wanted = curvature.iad()[0] * joint(&turned, &cols, [&ai, &unit], [n, m]);
                close("osscar", found, wanted);
            }
            assert_eq!(joint_row_cost(gpu, &curvature, &w, &[]).unwrap(), 0.0);
        }
    }
}

/// Removing columns is least squares on the others: `V_S = (A_SS)⁻¹ (A W)_S`.
#[test]
fn columns_are_least_squares() {
    for gpu in devices() {
        for (shape, cols) in [([3, 40], every(40, 0, 3)), ([5, 131], every(131, 7, 2))] {
            let [m, n] = shape;
            let case = Case::new(103, shape);
            let plain = case.plain();
            let a = &plain.damped[1];
            let kept: Vec<usize> = (0..n).filter(|j| !cols.contains(j)).collect();
            let mut wanted = vec![0.0; m * n];
            for i in 0..m {
                let block = kept.iter().map(|j| kept.iter().map(|k| a[j * n + k]).collect());
                let right = |j: &usize| (0..n).map(|k| a[j * n + k] * plain.weight[i * n + k]).sum();
                for (j, v) in kept
                    .iter()
                    .zip(eliminate(block.collect(), kept.iter().map(right).collect()))
                {
                    wanted[i * n + j] = v;
                }
            }
            let found = removed(gpu, &case, &[], &cols);
            let what = format!("{} {shape:?}", gpu.name());
            assert_close(&what, &found, &wanted, plain.rounding());
        }
    }
}

#[test]
fn units_add_up() {
    let (rows, cols) = ([1.0, 2.0, 4.0, 8.0], [16.0, 32.0]);
    let (pairs, single) = ([vec![0, 1], vec![2, 3]], [vec![1], vec![0]]);
    let part = |costs, lines| UnitPart { costs, lines };
    let parts = [part(&rows[..], &pairs[..]), part(&cols[..], &single[..])];
    assert_eq!(unit_costs(&parts), [35.0, 28.0]);
    assert_eq!(unit_costs(&[]), [0.0; 0]);
}

#[test]
fn scores_of_columns() {
    for gpu in devices() {
        let case = Case::new(104, [33, 70]);
        let w = case.upload(gpu);
        let energy = case.curvature(gpu).inputs.energy();
        let mean: Vec<f64> = energy.iter().map(|e| 0.6 * e.sqrt()).collect();
        let column = |j: usize| case.weight.iter().skip(j).step_by(70).map(|w| f64::from(*w));
        let square = |j: usize| column(j).map(|w| w * w).sum::<f64>();
        let raw = |j: usize| f64::from(case.sums[1][j * 71]) / TOKENS as f64;
        let close = |found: Vec<f64>, wanted: &dyn Fn(usize) -> f64| {
            let found: Vec<f32> = found.iter().map(|v| *v as f32).collect();
            let wanted: Vec<f64> = (0..70).map(wanted).collect();
            assert_close(gpu.name(), &found, &wanted, 16.0 * f64::from(f32::EPSILON));
        };
        let wanda = |j: usize| raw(j).sqrt() * column(j).map(f64::abs).sum::<f64>();
        close(wanda_sp_scores(gpu, &w, &energy).unwrap(), &wanda);
        let flap = |j: usize| raw(j) * 0.64 * square(j);
        close(flap_scores(gpu, &w, &energy, &mean).unwrap(), &flap);
        close(column_magnitudes(gpu, &w).unwrap(), &|j| square(j).sqrt());
    }
}
