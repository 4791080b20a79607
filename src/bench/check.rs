//! The correctness pass: every kernel that can be timed, at sizes that no tile divides.

use serde::Serialize;

use super::case::{Accuracy, Case};
use super::spec::{Spec, short};
use super::{BenchError, BenchKernel, cases};
use crate::gpu::Gpu;
use crate::ops::{DOUBLES, Variant, dense};
use crate::tensor::DType;

/// One kernel at one size.
#[derive(Clone, Debug, Serialize)]
pub struct CheckRow {
    /// Kernel.
    pub kernel: String,
    /// Which form of it.
    pub variant: String,
    /// Rows and columns of the result, length of the sums.
    pub size: [usize; 3],
    /// Type of the stored weights.
    pub dtype: String,
    /// Largest difference from the f64 twin over the twin's largest value; absent if anything was NaN.
    pub error: Option<f64>,
    /// What rounding explains.
    pub bound: f64,
    /// Whether it does.
    pub passed: bool,
}

/// Plays each of them once and compares, and then those that only tuning would choose.
pub fn check(gpu: &Gpu, seed: u64) -> Result<Vec<CheckRow>, BenchError> {
    let coop = gpu.cooperative().is_some();
    let specs = odd_sizes().into_iter();
    let mut rows = specs
        .filter(|spec| coop || spec.kernel != BenchKernel::GemmCoop)
        .map(|spec| row(gpu, &spec, "", cases::build(gpu, &spec, seed)?))
        .collect::<Result<Vec<CheckRow>, _>>()?;
    let doubles = |kernel| DOUBLES.map(|tile| Variant::new(kernel, tile));
    let subgroups = Variant::subgroup(gpu, &dense::GEMM_SUBGROUP);
    for variant in doubles(&dense::GEMM_DOUBLE).into_iter().chain(subgroups) {
        for (layout, dtype) in [
            ("nn", DType::F32),
            ("nt", DType::F32),
            ("nt", DType::F16),
            ("nt", DType::BF16),
        ] {
            let spec = Spec::new(BenchKernel::Gemm, layout, "", [65, 131, 67]).of(dtype);
            let case = cases::gemm_on(gpu, &spec, seed, variant)?;
            rows.push(row(gpu, &spec, &variant.name(), case)?);
        }
    }
    let grams = Variant::subgroup(gpu, &dense::GRAM_SUBGROUP);
    let tiled = Variant::of(&dense::GRAM_TILED);
    let grams = doubles(&dense::GRAM_DOUBLE).into_iter().chain(grams);
    for variant in grams.chain([tiled.in_parts(4), tiled.in_parts(16)]) {
        let spec = Spec::new(BenchKernel::Gram, "upper", "", [65, 65, 2101]);
        let case = cases::gram_on(gpu, &spec, seed, Some(variant))?;
        rows.push(row(gpu, &spec, &variant.name(), case)?);
    }
    Ok(rows)
}

/// Plays one, on a variant of this name if it has one.
fn row(gpu: &Gpu, spec: &Spec, on: &str, case: Case) -> Result<CheckRow, BenchError> {
    let accuracy: Accuracy = (case.check)(gpu)?;
    Ok(CheckRow {
        kernel: spec.kernel.name().to_string(),
        variant: [&spec.variant, on].join(" ").trim().to_string(),
        size: spec.size,
        dtype: short(spec.dtype).to_string(),
        error: accuracy.error.is_finite().then_some(accuracy.error),
        bound: accuracy.bound,
        passed: accuracy.is_fine(),
    })
}

/// Around a tile, a prime, a long thin one, on cooperative matrices too.
fn odd_sizes() -> Vec<Spec> {
    use BenchKernel::*;
    let spec = |kernel, variant, size| Spec::new(kernel, variant, "", size);
    let products = [[65, 63, 17], [1, 257, 64], [131, 5, 300], [64, 128, 33]];
    let mut out = vec![spec(Fma, "peak", [1, 1031, 0]), spec(Copy, "peak", [1, 4 * 257, 0])];
    for size in products {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            out.extend([Gemm, GemmCoop].map(|kernel| spec(kernel, "nt", size).of(dtype)));
        }
        out.extend([Gemm, GemmCoop, GemmNaive].map(|kernel| spec(kernel, "nn", size)));
    }
    out.extend([[33, 33, 2100], [130, 130, 17], [65, 65, 64]].map(|size| spec(Gram, "upper", size)));
    out.extend([[65, 63, 63], [1, 64, 64], [16, 131, 131]].map(|size| spec(FistaStep, "", size)));
    out.extend([[65, 64, 64], [7, 132, 132]].map(|size| spec(Admm, "2:4", size)));
    out.extend([[65, 63, 0], [1, 257, 0], [131, 7, 0]].map(|size| spec(TopK, "half", size)));
    out.extend([[65, 64, 0], [131, 12, 0], [1, 260, 0]].map(|size| spec(ProjectNm, "2:4", size)));
    for dtype in [DType::F32, DType::F16] {
        out.push(spec(Attention, "causal", [37, 4 * 8, 8]).with(2).of(dtype));
        out.push(spec(Attention, "causal", [65, 9 * 64, 64]).with(3).of(dtype));
        out.push(spec(Attention, "causal", [17, 2 * 128, 128]).with(1).of(dtype));
    }
    out.extend([5, 64, 65, 131].map(|n| spec(Cholesky, "inverse", [n, n, n])));
    out.extend([[65, 1, 63], [1, 1, 257], [131, 1, 4099]].map(|size| spec(Matvec, "dense", size)));
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        out.extend([[65, 1, 60], [131, 1, 4100]].map(|size| spec(MatvecTwoFour, "packed", size).of(dtype)));
    }
    out.extend([[24, 128, 128], [33, 132, 132]].map(|size| spec(Solve, "admm 2:4", size).with(300)));
    out
}
