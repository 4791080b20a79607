//! Products, Grams, inverses and matrix times vector.

use std::rc::Rc;

use super::super::case::{Accuracy, Case, error_of, pick, product, rounding};
use super::super::data::{Data, poisoned, sample};
use super::super::spec::{BenchKernel, Spec};
use super::places;
use crate::gpu::{Gpu, GpuError, Recording};
use crate::linalg::{self, Pivots};
use crate::ops::dense::{self, Gemm, GramPart, Layout, TwoFour};
use crate::ops::{Variant, bench};
use crate::reference::dense::gemv::dot;
use crate::tensor::{DType, PanelMatrix, Tensor};

/// A product's operands: rows of a are `[m, k]`, b is `[k, n]` or `[n, k]`.
struct Operands {
    tensors: [Tensor; 3],
    a: Vec<f32>,
    /// As the device sees it.
    b: Vec<f32>,
    layout: Layout,
    size: [usize; 3],
}

impl Operands {
    fn new(gpu: &Gpu, spec: &Spec, seed: u64) -> Result<Self, GpuError> {
        let [m, n, k] = spec.size;
        let layout = if spec.variant == "nt" { Layout::NT } else { Layout::NN };
        let shape = if layout == Layout::NT { [n, k] } else { [k, n] };
        let mut data = Data::new(seed);
        let (a_tensor, a) = data.tensor(gpu, m, k)?;
        let b = data.uniform(n * k);
        let (b_tensor, b) = if spec.dtype == DType::F32 {
            (Tensor::upload(gpu, "bench", shape[0], shape[1], &b)?, b)
        } else {
            let bytes = spec.dtype.encode(&b);
            let tensor = Tensor::upload_stored(gpu, "bench", shape, spec.dtype, &bytes)?;
            (tensor, spec.dtype.decode(&bytes))
        };
        let tensors = [a_tensor, b_tensor, poisoned(gpu, m, n)?];
        let size = spec.size;
        Ok(Operands {
            tensors,
            a,
            b,
            layout,
            size,
        })
    }

    fn work(&self) -> [f64; 2] {
        let [m, n, k] = self.size.map(|n| n as f64);
        let size = self.tensors[1].dtype().size() as f64;
        [2.0 * m * n * k, 4.0 * (m * k + m * n) + size * n * k]
    }

    fn look(&self, gpu: &Gpu) -> Result<Accuracy, GpuError> {
        let [m, n, k] = self.size;
        let [rows, cols] = places(self.size, 1);
        let b = |i: usize, col: usize| match self.layout {
            Layout::NN => f64::from(self.b[i * n + col]),
            Layout::NT => f64::from(self.b[col * k + i]),
        };
        let wanted = product([&rows, &cols], k, |row, i| f64::from(self.a[row * k + i]), b);
        let found = pick(&self.tensors[2].fetch(gpu)?, n, [&rows, &cols]);
        Ok(Accuracy::new(
            error_of(&found, &wanted),
            rounding(k),
            wanted.len(),
            m * n,
        ))
    }
}

pub(super) fn gemm(gpu: &Gpu, spec: &Spec, seed: u64) -> Result<Case, GpuError> {
    let operands = Operands::new(gpu, spec, seed)?;
    let ([a, b, out], layout) = (operands.tensors.clone(), operands.layout);
    let record = move |recording: &mut Recording, gpu: &Gpu| {
        dense::gemm(recording, gpu, &Gemm::new(&a, &b, layout, &out));
        Ok(())
    };
    Ok(Case::recorded(operands.work(), record, move |gpu| operands.look(gpu)))
}

/// On cooperative matrices with the deepest tile that fits; the device has them.
pub(super) fn gemm_coop(gpu: &Gpu, spec: &Spec, seed: u64) -> Result<Case, GpuError> {
    let variants = Variant::cooperative(gpu, &dense::GEMM_COOPERATIVE);
    let variant = *variants.first().expect("left out where there are none");
    gemm_on(gpu, spec, seed, variant)
}

/// On a given variant.
pub(in crate::bench) fn gemm_on(gpu: &Gpu, spec: &Spec, seed: u64, variant: Variant) -> Result<Case, GpuError> {
    let operands = Operands::new(gpu, spec, seed)?;
    let ([a, b, out], layout) = (operands.tensors.clone(), operands.layout);
    let record = move |recording: &mut Recording, _: &Gpu| {
        dense::gemm_with(recording, variant, &Gemm::new(&a, &b, layout, &out));
        Ok(())
    };
    Ok(Case::recorded(operands.work(), record, move |gpu| operands.look(gpu)))
}

pub(super) fn gemm_naive(gpu: &Gpu, spec: &Spec, seed: u64) -> Result<Case, GpuError> {
    let operands = Operands::new(gpu, spec, seed)?;
    let [a, b, out] = operands.tensors.clone();
    let record = move |recording: &mut Recording, _: &Gpu| {
        bench::gemm_naive(recording, &a, &b, &out);
        Ok(())
    };
    Ok(Case::recorded(operands.work(), record, move |gpu| operands.look(gpu)))
}

/// Upper triangle of `XᵀX`, added to what was there; the total is zero when it is checked.
pub(super) fn gram(gpu: &Gpu, spec: &Spec, seed: u64) -> Result<Case, GpuError> {
    gram_on(gpu, spec, seed, None)
}

/// The same, on a given variant if there is one.
pub(in crate::bench) fn gram_on(gpu: &Gpu, spec: &Spec, seed: u64, variant: Option<Variant>) -> Result<Case, GpuError> {
    let [n, _, tokens] = spec.size;
    let (x, values) = Data::new(seed).tensor(gpu, tokens, n)?;
    let total = Tensor::upload(gpu, "bench", n, n, &vec![0.0; n * n])?;
    let triangle = (n * (n + 1) / 2) as f64;
    let work = [
        2.0 * triangle * tokens as f64,
        4.0 * (tokens * n) as f64 + 8.0 * triangle,
    ];
    let target = total.clone();
    let record = move |recording: &mut Recording, gpu: &Gpu| {
        let part = GramPart {
            a: &x,
            a_col: 0,
            b: &x,
            total: &target,
            upper: true,
        };
        match variant {
            Some(variant) => dense::gram_with(recording, gpu, variant, &part),
            None => dense::gram_chunk(recording, gpu, &part),
        }
        Ok(())
    };
    let look = move |gpu: &Gpu| {
        let [rows, cols] = places([n, n, tokens], 1);
        let at = |token: usize, col: usize| f64::from(values[token * n + col]);
        let mut wanted = product([&rows, &cols], tokens, |row, t| at(t, row), at);
        let below = rows.iter().flat_map(|r| cols.iter().map(move |c| c < r));
        for (value, _) in wanted.iter_mut().zip(below).filter(|(_, below)| *below) {
            *value = 0.0;
        }
        let found = pick(&total.fetch(gpu)?, n, [&rows, &cols]);
        Ok(Accuracy::new(
            error_of(&found, &wanted),
            rounding(tokens),
            wanted.len(),
            n * n,
        ))
    };
    Ok(Case::recorded(work, record, look))
}

/// Dense, or the same with two of every four weights, packed.
pub(super) fn matvec(gpu: &Gpu, spec: &Spec, seed: u64) -> Result<Case, GpuError> {
    let [m, _, k] = spec.size;
    let mut data = Data::new(seed);
    let (mut values, (x, vector)) = (data.uniform(m * k), data.tensor(gpu, 1, k)?);
    let y = poisoned(gpu, 1, m)?;
    let (matrix, vectors) = if spec.kernel == BenchKernel::MatvecTwoFour {
        for group in values.chunks_mut(4) {
            // Which two depends on the data.
            let turn = usize::from(group[0] > 0.0) + 2 * usize::from(group[1] > 0.0);
            (group[turn], group[(turn + 1) % 4]) = (0.0, 0.0);
        }
        values = spec.dtype.decode(&spec.dtype.encode(&values));
        let packed = Rc::new(TwoFour::upload(gpu, &values, k, spec.dtype)?);
        (Matrix::Packed(packed), [x, y.clone()])
    } else {
        (
            Matrix::Dense(Tensor::upload(gpu, "bench", m, k, &values)?),
            [x, y.clone()],
        )
    };
    let (bytes, flops) = match &matrix {
        Matrix::Dense(_) => (4.0 * (m * k) as f64, 2.0 * (m * k) as f64),
        Matrix::Packed(packed) => (packed.bytes() as f64, (m * k) as f64),
    };
    let record = move |recording: &mut Recording, _: &Gpu| {
        let [x, out] = &vectors;
        match &matrix {
            Matrix::Dense(matrix) => dense::gemv(recording, matrix, x, 0, out),
            Matrix::Packed(matrix) => dense::gemv_two_four(recording, matrix, x, out),
        }
        Ok(())
    };
    let look = move |gpu: &Gpu| {
        let rows = if m * k <= super::ALL {
            sample(m, m)
        } else {
            sample(m, 1024)
        };
        let f64s = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let x = f64s(&vector);
        let wanted: Vec<f64> = rows.iter().map(|r| dot(&f64s(&values[r * k..][..k]), &x)).collect();
        let found = pick(&y.fetch(gpu)?, m, [&[0], &rows]);
        Ok(Accuracy::new(error_of(&found, &wanted), rounding(k), wanted.len(), m))
    };
    Ok(Case::recorded([flops, bytes + 4.0 * (m + k) as f64], record, look))
}

/// What a vector is multiplied with.
#[derive(Clone)]
enum Matrix {
    Dense(Tensor),
    Packed(Rc<TwoFour>),
}

/// Inverse of a well-conditioned symmetric matrix with a unit diagonal, as ADMM needs it.
pub(super) fn cholesky(gpu: &Gpu, spec: &Spec, seed: u64) -> Result<Case, GpuError> {
    let n = spec.size[0];
    let values = well_conditioned(n, seed);
    let a = PanelMatrix::upload(gpu, "bench", n, |rows| {
        Ok::<_, GpuError>(values[rows.start * n..rows.end * n].to_vec())
    })?;
    let out = a.empty_like(gpu, "inverse")?;
    let mut recording = Recording::new();
    let pivots = Rc::new(Pivots::new(gpu, &mut recording)?);
    gpu.submit(recording)?;
    let (result, counted) = (out.clone(), pivots.clone());
    let record = move |recording: &mut Recording, gpu: &Gpu| linalg::inverse(recording, gpu, [&a, &out], 0.0, &counted);
    let look = move |gpu: &Gpu| {
        let mut recording = Recording::new();
        let id = pivots.read(&mut recording);
        let failed = Pivots::failed(&gpu.submit(recording)?, id)?;
        let mut found = Vec::with_capacity(n * n);
        for (_, panel) in result.panels() {
            found.extend(panel.fetch(gpu)?);
        }
        // A row of the inverse costs the twin some forty products with the matrix.
        let rows = sample(n, (super::ALL / (40 * n * n)).clamp(2, n.max(2)));
        let all = sample(n, n);
        let wanted: Vec<f64> = rows.iter().flat_map(|row| inverse_row(n, &values, *row)).collect();
        let error = match failed {
            None => error_of(&pick(&found, n, [&rows, &all]), &wanted),
            Some(_) => f64::INFINITY,
        };
        Ok(Accuracy::new(error, rounding(n), wanted.len(), n * n))
    };
    let size = n as f64;
    Ok(Case::recorded([size.powi(3), 8.0 * size * size], record, look))
}

/// A unit diagonal and symmetric noise whose eigenvalues lie between about -0.6 and 0.6.
fn well_conditioned(n: usize, seed: u64) -> Vec<f32> {
    let mut values = Data::new(seed).uniform(n * n);
    let factor = 0.5 / (n as f32).sqrt();
    for r in 0..n {
        values[r * n + r] = 1.0;
        for c in r + 1..n {
            values[r * n + c] *= factor;
            values[c * n + r] = values[r * n + c];
        }
    }
    values
}

/// A row of the inverse by conjugate gradients in f64, until nothing is left but rounding.
fn inverse_row(n: usize, a: &[f32], row: usize) -> Vec<f64> {
    use rayon::prelude::*;
    let (mut x, mut residual) = (vec![0.0; n], vec![0.0; n]);
    residual[row] = 1.0;
    let mut direction = residual.clone();
    let mut norm = 1.0;
    for _ in 0..4 * n.max(64) {
        let line = |line: &[f32]| line.iter().zip(&direction).map(|(a, d)| f64::from(*a) * d).sum::<f64>();
        let product: Vec<f64> = a.par_chunks(n).map(line).collect();
        let step = norm / direction.iter().zip(&product).map(|(d, p)| d * p).sum::<f64>();
        for i in 0..n {
            x[i] += step * direction[i];
            residual[i] -= step * product[i];
        }
        let next: f64 = residual.iter().map(|r| r * r).sum();
        if next < 1e-26 {
            break;
        }
        for i in 0..n {
            direction[i] = residual[i] + next / norm * direction[i];
        }
        norm = next;
    }
    x
}
