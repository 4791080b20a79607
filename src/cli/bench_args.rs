//! Flags of `secateur bench`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use crate::bench::{BenchKernel, Shape, Size};
use crate::report::BenchFormat;
use crate::tensor::DType;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    pub(super) command: Option<BenchCommand>,
    #[command(flatten)]
    pub(super) what: BenchWhat,
}

#[derive(Debug, Subcommand)]
pub(super) enum BenchCommand {
    /// Compare two result files, measurement by measurement
    Compare(BenchCompareArgs),
    /// Write one static HTML page of all result files in a folder
    Board(BenchBoardArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct BenchWhat {
    /// Kernels, comma-separated: gemm, gemm_coop (the same product on cooperative matrices, where the GPU has them),
    /// gemm_naive (the same product without optimisation, at N^3 shapes), gram, fista_step, admm (one iteration),
    /// topk, project_nm, attention, cholesky (inverse), matvec (dense), matvec_two_four (2:4, packed), solve (a layer
    /// at 2:4 by the default method) [default: all]
    #[arg(long, value_delimiter = ',', value_name = "KERNELS")]
    pub(super) kernels: Vec<BenchKernel>,
    /// Shapes, comma-separated: smollm2-135m, llama-3.2-1b, llama-3.1-8b, OUTPUTSxINPUTS such as 2048x640, or N^3 (a
    /// product of square matrices) such as 1024^3 [default: those of --size]
    #[arg(long, value_delimiter = ',', value_name = "SHAPES")]
    pub(super) shapes: Vec<Shape>,
    /// How much to measure
    #[arg(long, value_enum, default_value = "small")]
    pub(super) size: Size,
    /// Storage types of the weights, comma-separated, for kernels that support several (gemm). f16 adds attention with
    /// 16-bit queries, keys and values [default: f32,f16,bf16]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "TYPES")]
    pub(super) dtypes: Vec<WeightType>,
    /// Number of tokens in forward products, Gram matrices and attention [default: 256, 1024 or 2048 by --size]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1 << 15))]
    pub(super) tokens: Option<u32>,
    /// Timed repetitions of each measurement, after the warm-up
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) repetitions: u32,
    /// Seed of the random data
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Format of the results on stdout; --json is short for json
    #[arg(short, long, value_enum, default_value = "md")]
    pub(super) output: BenchFormat,
    /// Check without timing: compare every kernel with its f64 reference at odd sizes. The exit code is 1 if a
    /// difference is larger than rounding explains
    #[arg(long, conflicts_with_all = ["kernels", "shapes", "size", "dtypes", "tokens", "repetitions", "output"])]
    pub(super) check: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum WeightType {
    /// 4 bytes
    F32,
    /// 2 bytes, 11 bits of precision
    F16,
    /// 2 bytes, 8 bits of precision
    Bf16,
}

impl From<WeightType> for DType {
    fn from(arg: WeightType) -> Self {
        match arg {
            WeightType::F32 => DType::F32,
            WeightType::F16 => DType::F16,
            WeightType::Bf16 => DType::BF16,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct BenchCompareArgs {
    /// Results written by `bench --output json` or `jsonl`
    pub(super) a: PathBuf,
    /// Results to compare with them
    pub(super) b: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct BenchBoardArgs {
    /// Folder with .json and .jsonl result files, searched with its subfolders
    pub(super) folder: PathBuf,
    /// HTML page to write
    #[arg(short, long)]
    pub(super) output: PathBuf,
}
