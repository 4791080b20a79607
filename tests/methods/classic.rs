//! The published methods as plain loops in f64 and in the coordinates of the weights: no scaling, no blocks of rows, no
//! code of ours. Damping is by the rule of the problem.

use secateur::prune::{DampingRule, Pattern, Scope};

use crate::common::f64s;
use crate::laws::problem::{DAMPING, Layer};

/// What a method leaves.
pub(super) struct Classic {
    pub(super) weight: Vec<f64>,
    pub(super) mask: Vec<bool>,
}

/// Columns of a block of SparseGPT, as wide as groups of N:M allow.
fn block_width(pattern: Pattern) -> usize {
    match pattern {
        Pattern::NM { m, .. } => 128 / m * m,
        _ => 128,
    }
}

/// Marks the `count` largest scores.
fn top(scores: &[f64], count: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let mut mask = vec![false; scores.len()];
    for i in &order[..count] {
        mask[*i] = true;
    }
    mask
}

/// Mask of a whole matrix of scores.
fn mask_of(scores: &[f64], cols: usize, pattern: Pattern) -> Vec<bool> {
    let per = |width: usize, count: usize| scores.chunks(width).flat_map(|part| top(part, count)).collect();
    match pattern {
        Pattern::NM { n, m } => per(m, n),
        Pattern::Unstructured { scope: Scope::Row, .. } => per(cols, pattern.kept(1, cols)),
        Pattern::Unstructured { .. } => top(scores, pattern.kept(scores.len() / cols, cols)),
    }
}

/// The weights of a mask that changes none.
fn masked(layer: &Layer, mask: Vec<bool>) -> Classic {
    let weight = layer.weight.iter().zip(&mask);
    Classic {
        weight: weight
            .map(|(w, kept)| if *kept { f64::from(*w) } else { 0.0 })
            .collect(),
        mask,
    }
}

/// Norm of each input over the tokens.
fn norms(layer: &Layer) -> Vec<f64> {
    let x = f64s(&layer.pruned);
    let square = |j: usize| x.iter().skip(j).step_by(layer.cols).map(|v| v * v).sum::<f64>();
    (0..layer.cols).map(|j| square(j).sqrt()).collect()
}

/// Sun et al. 2023: `|w| ‖x‖`.
pub(super) fn wanda(layer: &Layer, pattern: Pattern) -> Classic {
    let norms = norms(layer);
    let score = |(i, w): (usize, &f32)| f64::from(w.abs()) * norms[i % layer.cols];
    let scores: Vec<f64> = layer.weight.iter().enumerate().map(score).collect();
    masked(layer, mask_of(&scores, layer.cols, pattern))
}

/// Zhang et al. 2024: `(|w| / column + |w| / row) ‖x‖^0.5`.
pub(super) fn ria(layer: &Layer, pattern: Pattern) -> Classic {
    let (n, norms, w) = (layer.cols, norms(layer), f64s(&layer.weight));
    let rows: Vec<f64> = w.chunks(n).map(|row| row.iter().map(|v| v.abs()).sum()).collect();
    let cols: Vec<f64> = (0..n)
        .map(|j| w.iter().skip(j).step_by(n).map(|v| v.abs()).sum())
        .collect();
    let score = |(i, w): (usize, &f64)| (w.abs() / cols[i % n] + w.abs() / rows[i / n]) * norms[i % n].sqrt();
    let scores: Vec<f64> = w.iter().enumerate().map(score).collect();
    masked(layer, mask_of(&scores, n, pattern))
}

/// `2/N Σ a bᵀ` over the tokens, with damping on the diagonal by the energy of the pruned inputs.
fn hessian(layer: &Layer, [a, b]: [&[f32]; 2], rule: DampingRule) -> Vec<f64> {
    let n = layer.cols;
    let mut h = vec![0.0; n * n];
    let factor = 2.0 / layer.tokens as f64;
    for (a, b) in f64s(a).chunks(n).zip(f64s(b).chunks(n)) {
        for (i, a) in a.iter().enumerate() {
            for (j, b) in b.iter().enumerate() {
                h[i * n + j] += factor * a * b;
            }
        }
    }
    let energies: Vec<f64> = norms(layer).iter().map(|norm| factor * norm * norm).collect();
    let mean = energies.iter().sum::<f64>() / n as f64;
    for (j, own) in energies.iter().enumerate() {
        h[j * n + j] += DAMPING * if rule == DampingRule::Own { *own } else { mean };
    }
    h
}

/// Inverse of a symmetric positive definite matrix, by Gauss and Jordan.
fn inverse(h: &[f64], n: usize) -> Vec<f64> {
    let mut rows: Vec<Vec<f64>> = h.chunks(n).map(<[f64]>::to_vec).collect();
    for (i, row) in rows.iter_mut().enumerate() {
        row.extend((0..n).map(|j| f64::from(u8::from(i == j))));
    }
    for p in 0..n {
        let pivot = rows[p][p];
        rows[p].iter_mut().for_each(|v| *v /= pivot);
        let top = rows[p].clone();
        for (_, row) in rows.iter_mut().enumerate().filter(|(i, _)| *i != p) {
            let factor = row[p];
            row.iter_mut().zip(&top).for_each(|(v, t)| *v -= factor * t);
        }
    }
    rows.iter().flat_map(|row| row[n..].to_vec()).collect()
}

/// The upper triangular U with `a = Uᵀ U`.
fn upper_cholesky(a: &[f64], n: usize) -> Vec<f64> {
    let mut u = vec![0.0; n * n];
    for i in 0..n {
        for j in i..n {
            let known: f64 = (0..i).map(|k| u[k * n + i] * u[k * n + j]).sum();
            let rest = a[i * n + j] - known;
            u[i * n + j] = if i == j { rest.sqrt() } else { rest / u[i * n + i] };
        }
    }
    u
}

/// `a b` for a `[rows, n]`, b `[n, n]`.
fn product(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
    let mut out = vec![0.0; a.len()];
    for (a, out) in a.chunks(n).zip(out.chunks_mut(n)) {
        for (a, b) in a.iter().zip(b.chunks(n)) {
            out.iter_mut().zip(b).for_each(|(out, b)| *out += a * b);
        }
    }
    out
}

/// Frantar & Alistarh 2023, Algorithm 1; from `W C H⁻¹` with the cross Gram C where the inputs have drifted.
pub(super) fn sparsegpt(layer: &Layer, pattern: Pattern, rule: DampingRule) -> Classic {
    let (rows, n) = (layer.rows, layer.cols);
    let inverted = inverse(&hessian(layer, [&layer.pruned; 2], rule), n);
    let u = upper_cholesky(&inverted, n);
    let mut w = f64s(&layer.weight);
    if layer.pruned != layer.dense {
        let cross = hessian(layer, [&layer.dense, &layer.pruned], rule);
        w = product(&product(&w, &cross, n), &inverted, n);
    }
    let mut mask = vec![true; rows * n];
    let width = block_width(pattern);
    for first in (0..n).step_by(width) {
        let last = n.min(first + width);
        if let Pattern::Unstructured { scope, .. } = pattern {
            let whole = if scope == Scope::Row { 1 } else { rows };
            let upto = |end: usize| (pattern.kept(whole, n) as f64 * end as f64 / n as f64).round() as usize;
            let score = |i: usize| (w[i] / u[i % n * n + i % n]).powi(2);
            let places: Vec<usize> = (0..rows * n).filter(|i| (first..last).contains(&(i % n))).collect();
            for part in places.chunks(whole * (last - first)) {
                let scores: Vec<f64> = part.iter().map(|i| score(*i)).collect();
                for (i, kept) in part.iter().zip(top(&scores, upto(last) - upto(first))) {
                    mask[*i] = kept;
                }
            }
        }
        for j in first..last {
            if let Pattern::NM { n: keep, m } = pattern
                && j % m == 0
            {
                for row in 0..rows {
                    let scores: Vec<f64> = (j..j + m).map(|k| (w[row * n + k] / u[k * n + k]).powi(2)).collect();
                    mask[row * n + j..row * n + j + m].copy_from_slice(&top(&scores, keep));
                }
            }
            for row in (0..rows).filter(|row| !mask[row * n + j]) {
                let err = w[row * n + j] / u[j * n + j];
                for k in j..n {
                    w[row * n + k] -= err * u[j * n + k];
                }
                w[row * n + j] = 0.0;
            }
        }
    }
    Classic { weight: w, mask }
}
