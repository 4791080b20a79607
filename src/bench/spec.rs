//! What there is to measure: kernels, and the sizes each takes from a shape.

use std::str::FromStr;

use super::{BenchError, Shape};
use crate::tensor::DType;

/// Something that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BenchKernel {
    /// Product with the tuned kernels.
    Gemm,
    /// The same product on cooperative matrices, where the device has them.
    GemmCoop,
    /// The same product as first written down.
    GemmNaive,
    /// Upper triangle of `XᵀX`.
    Gram,
    /// An iteration of FISTA.
    FistaStep,
    /// An iteration of ADMM: dual step, product, projection on 2:4.
    Admm,
    /// The half of a matrix with the largest values.
    TopK,
    /// Projection on 2:4.
    ProjectNm,
    /// Causal attention.
    Attention,
    /// Inverse of a Gram by a blocked Cholesky sweep.
    Cholesky,
    /// Dense matrix times vector.
    Matvec,
    /// Packed 2:4 matrix times vector.
    MatvecTwoFour,
    /// A layer at 2:4 by the default method.
    Solve,
    /// The roof of arithmetic.
    Fma,
    /// The roof of memory.
    Copy,
}

use BenchKernel::*;

/// Those that can be chosen, in the order they are measured; the roofs always are.
const CHOICES: [BenchKernel; 13] = [
    Gemm,
    GemmCoop,
    GemmNaive,
    Gram,
    FistaStep,
    Admm,
    TopK,
    ProjectNm,
    Attention,
    Cholesky,
    Matvec,
    MatvecTwoFour,
    Solve,
];

impl BenchKernel {
    /// All that can be chosen.
    pub fn all() -> Vec<BenchKernel> {
        CHOICES.to_vec()
    }

    /// Name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Gemm => "gemm",
            GemmCoop => "gemm_coop",
            GemmNaive => "gemm_naive",
            Gram => "gram",
            FistaStep => "fista_step",
            Admm => "admm",
            TopK => "topk",
            ProjectNm => "project_nm",
            Attention => "attention",
            Cholesky => "cholesky",
            Matvec => "matvec",
            MatvecTwoFour => "matvec_two_four",
            Solve => "solve",
            Fma => "fma",
            Copy => "copy",
        }
    }
}

impl FromStr for BenchKernel {
    type Err = BenchError;

    fn from_str(text: &str) -> Result<Self, BenchError> {
        CHOICES.into_iter().find(|kernel| kernel.name() == text).ok_or_else(|| {
            let names: Vec<&str> = CHOICES.iter().map(|kernel| kernel.name()).collect();
            BenchError::Setting(format!("`{text}` is no kernel of bench: write {}", names.join(", ")))
        })
    }
}

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// What.
    pub kernel: BenchKernel,
    /// Which form of it.
    pub variant: String,
    /// Whose shape.
    pub shape: String,
    /// Rows and columns of the result, length of the sums (0: none). Attention: tokens, columns of q, columns of a head.
    pub size: [usize; 3],
    /// Attention: key and value heads. Solve: tokens of the Gram. Else 0.
    pub more: usize,
    /// Type the weights are stored in.
    pub dtype: DType,
}

impl Spec {
    pub(super) fn new(kernel: BenchKernel, variant: &str, shape: &str, size: [usize; 3]) -> Self {
        Spec {
            kernel,
            variant: variant.to_string(),
            shape: shape.to_string(),
            size,
            more: 0,
            dtype: DType::F32,
        }
    }

    pub(super) fn of(self, dtype: DType) -> Self {
        Spec { dtype, ..self }
    }

    pub(super) fn with(self, more: usize) -> Self {
        Spec { more, ..self }
    }

    /// Whether it is the same measurement, whosever shape it is.
    fn same(&self, other: &Spec) -> bool {
        *self
            == Spec {
                shape: self.shape.clone(),
                ..other.clone()
            }
    }

    /// What stands in the way of it, if anything does.
    pub(super) fn obstacle(&self) -> Option<String> {
        let inputs = match self.kernel {
            Admm | ProjectNm | Solve => self.size[1],
            MatvecTwoFour => self.size[2],
            _ => 0,
        };
        (!inputs.is_multiple_of(4)).then(|| format!("2:4 needs a multiple of 4 inputs, not {inputs}"))
    }

    /// Kernel, shape, sizes and type in a few words.
    pub fn describe(&self) -> String {
        let sizes: Vec<String> = self.size.iter().filter(|n| **n > 0).map(usize::to_string).collect();
        let words = [
            self.kernel.name(),
            &self.variant,
            &self.shape,
            &sizes.join("x"),
            short(self.dtype),
        ];
        words
            .into_iter()
            .filter(|w| !w.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Name of a type in results.
pub(super) fn short(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::F16 => "f16",
        DType::BF16 => "bf16",
    }
}

/// What to measure, the same only once.
pub(super) fn specs(
    kernels: &[BenchKernel],
    shapes: &[Shape],
    [tokens, solves]: [usize; 2],
    dtypes: &[DType],
) -> Vec<Spec> {
    let mut all = Vec::new();
    for shape in shapes {
        match shape {
            Shape::Cube(n) => all.extend(cube(*n, dtypes)),
            Shape::Linear([rows, cols]) => {
                let name = format!("{rows}x{cols}");
                all.extend(linear(&name, [*rows, *cols], tokens, dtypes));
                all.push(Spec::new(Solve, "admm 2:4", &name, [*rows, *cols, *cols]).with(tokens));
            }
            Shape::Model(model) => {
                let [heads, kv_heads, dim] = model.heads;
                let attention = Spec::new(Attention, "causal", model.name, [tokens, heads * dim, dim]).with(kv_heads);
                let half = dtypes.contains(&DType::F16).then(|| attention.clone().of(DType::F16));
                all.extend([attention].into_iter().chain(half));
                for (linear_name, size) in model.linears {
                    all.extend(linear(&format!("{} {linear_name}", model.name), *size, tokens, dtypes));
                }
                // Smallest first.
                let mut linears = model.linears.to_vec();
                linears.sort_by_key(|(_, [rows, cols])| rows * cols);
                for (linear_name, [rows, cols]) in linears.into_iter().take(solves) {
                    let name = format!("{} {linear_name}", model.name);
                    all.push(Spec::new(Solve, "admm 2:4", &name, [rows, cols, cols]).with(tokens));
                }
            }
        }
    }
    let mut out: Vec<Spec> = Vec::new();
    for kernel in kernels {
        for spec in all.iter().filter(|spec| spec.kernel == *kernel) {
            if !out.iter().any(|other| other.same(spec)) {
                out.push(spec.clone());
            }
        }
    }
    out
}

fn cube(n: usize, dtypes: &[DType]) -> Vec<Spec> {
    let name = format!("{n}^3");
    let product = |kernel, variant| Spec::new(kernel, variant, &name, [n, n, n]);
    let tuned = |kernel| {
        let stored = dtypes.iter().map(move |dtype| product(kernel, "nt").of(*dtype));
        stored.chain([product(kernel, "nn")])
    };
    let naive = product(GemmNaive, "nn");
    tuned(Gemm).chain(tuned(GemmCoop)).chain([naive]).collect()
}

/// What is done with a linear: the forward pass, the Gram of its inputs, the iterations of its solvers.
fn linear(name: &str, [rows, cols]: [usize; 2], tokens: usize, dtypes: &[DType]) -> Vec<Spec> {
    let spec = |kernel, variant, size| Spec::new(kernel, variant, name, size);
    let forward = dtypes
        .iter()
        .flat_map(|dtype| [Gemm, GemmCoop].map(|kernel| spec(kernel, "nt", [tokens, rows, cols]).of(*dtype)));
    let others = [
        // The bare products of a FISTA step and of a Gram, to hold those against.
        spec(Gemm, "nn", [rows, cols, cols]),
        spec(GemmCoop, "nn", [rows, cols, cols]),
        spec(Gemm, "nn", [cols, cols, tokens]),
        spec(Gram, "upper", [cols, cols, tokens]),
        spec(FistaStep, "", [rows, cols, cols]),
        spec(Admm, "2:4", [rows, cols, cols]),
        spec(TopK, "half", [rows, cols, 0]),
        spec(ProjectNm, "2:4", [rows, cols, 0]),
        spec(Cholesky, "inverse", [cols, cols, cols]),
        spec(Matvec, "dense", [rows, 1, cols]),
    ];
    let packed = dtypes
        .iter()
        .map(|dtype| spec(MatvecTwoFour, "packed", [rows, 1, cols]).of(*dtype));
    forward.chain(others).chain(packed).collect()
}
