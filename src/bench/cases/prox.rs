//! Iterations of the solvers and the projections in them.

use super::super::case::{Accuracy, Case, error_of, pick, product, rounding};
use super::super::data::{Data, poisoned, sample};
use super::super::spec::Spec;
use super::places;
use crate::gpu::{Gpu, GpuError, Recording};
use crate::ops::dense::{self, Gemm, Layout};
use crate::ops::prox::{self, FistaStep, Keep, Penalty, Scope};
use crate::reference::prox as twin;
use crate::tensor::Tensor;

fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// An eighth of a matrix is not free.
fn free(gpu: &Gpu, rows: usize, cols: usize) -> Result<(Tensor, Vec<f32>), GpuError> {
    let values: Vec<f32> = (0..rows * cols).map(|i| f32::from(i % 8 != 3)).collect();
    Ok((Tensor::upload(gpu, "free", rows, cols, &values)?, values))
}

/// A symmetric matrix `[n, n]` over the square root of n, so that iterations stay bounded.
fn square(gpu: &Gpu, data: &mut Data, n: usize) -> Result<(Tensor, Vec<f32>), GpuError> {
    let mut values = data.uniform(n * n);
    let factor = 1.0 / (n as f32).sqrt();
    for r in 0..n {
        values[r * n + r] = 1.0;
        for c in r + 1..n {
            values[r * n + c] *= factor;
            values[c * n + r] = values[r * n + c];
        }
    }
    Ok((Tensor::upload(gpu, "bench", n, n, &values)?, values))
}

pub(super) fn fista_step(gpu: &Gpu, spec: &Spec, seed: u64) -> Result<Case, GpuError> {
    let [m, n, _] = spec.size;
    let (step, threshold, momentum) = (0.125, 0.0625, 0.5);
    let mut data = Data::new(seed);
    let (h, gram) = square(gpu, &mut data, n)?;
    let [(y, y0), (b, b0), (x, x0)] = [
        data.tensor(gpu, m, n)?,
        data.tensor(gpu, m, n)?,
        data.tensor(gpu, m, n)?,
    ];
    let (free, free0) = free(gpu, m, n)?;
    let next = poisoned(gpu, m, n)?;
    let results = [x.clone(), next.clone()];
    let record = move |recording: &mut Recording, gpu: &Gpu| {
        let call = FistaStep {
            y: &y,
            y_col: 0,
            h: &h,
            b: &b,
            free: &free,
            x: &x,
            y_next: &next,
            step,
            threshold,
            momentum,
            accumulate: false,
        };
        prox::fista_step(recording, gpu, &call);
        Ok(())
    };
    let look = move |gpu: &Gpu| {
        let [rows, cols] = places([m, n, n], 1);
        let at = |values: &[f32]| f64s(&pick(values, n, [&rows, &cols]));
        let mut wanted_next = product(
            [&rows, &cols],
            n,
            |r, k| f64::from(y0[r * n + k]),
            |k, c| f64::from(gram[k * n + c]),
        );
        let (y, b, free, mut wanted) = (at(&y0), at(&b0), at(&free0), at(&x0));
        let factors = [step, threshold, momentum].map(f64::from);
        let step = twin::fista_step::Step {
            step: factors[0],
            threshold: factors[1],
            momentum: factors[2],
        };
        let row = twin::fista_step::Row {
            y: &y,
            b: &b,
            free: &free,
        };
        twin::fista_step::shrink(step, row, &mut wanted, &mut wanted_next);
        let mut error = 0.0f64;
        for (result, wanted) in results.iter().zip([&wanted, &wanted_next]) {
            error = error.max(error_of(&pick(&result.fetch(gpu)?, n, [&rows, &cols]), wanted));
        }
        Ok(Accuracy::new(error, rounding(n), 2 * wanted.len(), 2 * m * n))
    };
    let (rows, cols) = (m as f64, n as f64);
    let work = [2.0 * rows * cols * cols, 24.0 * rows * cols + 4.0 * cols * cols];
    Ok(Case::recorded(work, record, look))
}

/// Dual step, product with the inverse, projection on 2:4, as the method records them.
pub(super) fn admm(gpu: &Gpu, spec: &Spec, seed: u64) -> Result<Case, GpuError> {
    let [m, n, _] = spec.size;
    let penalty = Penalty {
        before: 0.5,
        next: 0.625,
    };
    let mut data = Data::new(seed);
    let (inverse, square) = square(gpu, &mut data, n)?;
    let [(b, b0), (kept, d0), (z, z0)] = [
        data.tensor(gpu, m, n)?,
        data.tensor(gpu, m, n)?,
        data.tensor(gpu, m, n)?,
    ];
    let (free, free0) = free(gpu, m, n)?;
    let [right, support] = [poisoned(gpu, m, n)?, poisoned(gpu, m, n)?];
    let results = [z.clone(), kept.clone(), support.clone()];
    let record = move |recording: &mut Recording, gpu: &Gpu| {
        prox::admm_step(recording, penalty, [&b, &kept], &z, &right);
        dense::gemm(recording, gpu, &Gemm::new(&right, &inverse, Layout::NN, &z).add());
        prox::project_nm(recording, &z, &free, 2, 4, &kept, &support);
        Ok(())
    };
    let look = move |gpu: &Gpu| {
        let [rows, cols] = places([m, n, n], 4);
        let whole = super::super::data::sample(n, n);
        let at = |values: &[f32], cols: &[usize]| f64s(&pick(values, n, [&rows, cols]));
        let (mut u, mut right) = (at(&z0, &whole), vec![0.0; rows.len() * n]);
        let factors = [penalty.next, penalty.before / penalty.next];
        twin::admm_step::admm_step(factors, &at(&b0, &whole), &at(&d0, &whole), &mut u, &mut right);
        let place = |r: usize| rows.binary_search(&r).expect("a sampled row");
        let mut wanted = product(
            [&rows, &cols],
            n,
            |r, k| right[place(r) * n + k],
            |k, c| f64::from(square[k * n + c]),
        );
        let before = pick(&u, n, [&super::super::data::sample(rows.len(), rows.len()), &cols]);
        wanted.iter_mut().zip(before).for_each(|(w, u)| *w += u);
        let [z, kept, support] = [0, 1, 2].map(|i| results[i].fetch(gpu));
        let z = pick(&z?, n, [&rows, &cols]);
        let error = error_of(&z, &wanted);
        // The projection of what the device itself found: near ties may fall either way in f64.
        let mut projected = [vec![0.0; z.len()], vec![0.0; z.len()]];
        let [out, mask] = &mut projected;
        twin::project_nm::project_nm(2, 4, &f64s(&z), &at(&free0, &cols), out, mask);
        let mut exact = 0.0f64;
        for (found, wanted) in [kept?, support?].iter().zip(&projected) {
            exact = exact.max(error_of(&pick(found, n, [&rows, &cols]), wanted));
        }
        let error = if exact == 0.0 { error } else { f64::INFINITY };
        Ok(Accuracy::new(error, rounding(n), 3 * wanted.len(), 3 * m * n))
    };
    let (rows, cols) = (m as f64, n as f64);
    // Five arrays for the dual step, three for the product, four for the projection.
    let work = [2.0 * rows * cols * cols, 48.0 * rows * cols + 4.0 * cols * cols];
    Ok(Case::recorded(work, record, look))
}

/// The half of a matrix with the largest values; exact, so the twin is a plain selection.
pub(super) fn topk(gpu: &Gpu, spec: &Spec, seed: u64) -> Result<Case, GpuError> {
    let [m, n, _] = spec.size;
    let (v, values) = Data::new(seed).tensor(gpu, m, n)?;
    let (free, free0) = free(gpu, m, n)?;
    let [out, support] = [poisoned(gpu, m, n)?, poisoned(gpu, m, n)?];
    let results = [out.clone(), support.clone()];
    let keep = Keep { count: m * n / 2 };
    let record = move |recording: &mut Recording, gpu: &Gpu| {
        prox::keep_largest(recording, gpu, &v, &free, Scope::Matrix, keep, &out, &support)
    };
    let look = move |gpu: &Gpu| {
        let mut order: Vec<usize> = (0..m * n).filter(|i| free0[*i] != 0.0).collect();
        if keep.count > 0 && keep.count < order.len() {
            let larger = |a: &usize, b: &usize| values[*b].abs().total_cmp(&values[*a].abs()).then(a.cmp(b));
            order.select_nth_unstable_by(keep.count - 1, larger);
        }
        let mut wanted = [vec![0.0; m * n], vec![0.0; m * n]];
        for i in order.into_iter().take(keep.count) {
            wanted[0][i] = f64::from(values[i]);
            wanted[1][i] = 1.0;
        }
        exact(gpu, &results, &wanted)
    };
    Ok(Case::recorded([0.0, 16.0 * (m * n) as f64], record, look))
}

pub(super) fn project_nm(gpu: &Gpu, spec: &Spec, seed: u64) -> Result<Case, GpuError> {
    let [m, n, _] = spec.size;
    let (v, values) = Data::new(seed).tensor(gpu, m, n)?;
    let (free, free0) = free(gpu, m, n)?;
    let [out, support] = [poisoned(gpu, m, n)?, poisoned(gpu, m, n)?];
    let results = [out.clone(), support.clone()];
    let record = move |recording: &mut Recording, _: &Gpu| {
        prox::project_nm(recording, &v, &free, 2, 4, &out, &support);
        Ok(())
    };
    let look = move |gpu: &Gpu| {
        let rows = sample(m, (super::ALL / n).max(1));
        let whole = sample(n, n);
        let at = |values: &[f32]| f64s(&pick(values, n, [&rows, &whole]));
        let mut wanted = [vec![0.0; rows.len() * n], vec![0.0; rows.len() * n]];
        let [out, mask] = &mut wanted;
        twin::project_nm::project_nm(2, 4, &at(&values), &at(&free0), out, mask);
        let found = [0, 1].map(|i| results[i].fetch(gpu));
        let mut error = 0.0f64;
        for (found, wanted) in found.into_iter().zip(&wanted) {
            error = error.max(error_of(&pick(&found?, n, [&rows, &whole]), wanted));
        }
        Ok(Accuracy::new(error, 0.0, 2 * rows.len() * n, 2 * m * n))
    };
    Ok(Case::recorded([0.0, 16.0 * (m * n) as f64], record, look))
}

/// Results that must agree in every bit.
fn exact(gpu: &Gpu, results: &[Tensor; 2], wanted: &[Vec<f64>; 2]) -> Result<Accuracy, GpuError> {
    let mut error = 0.0f64;
    for (result, wanted) in results.iter().zip(wanted) {
        error = error.max(error_of(&result.fetch(gpu)?, wanted));
    }
    let elements = 2 * results[0].len();
    Ok(Accuracy::new(error, 0.0, elements, elements))
}
