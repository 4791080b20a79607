//! Flags that the commands with runs share: calibration tokens, how a layer problem is solved, memory.

use std::path::PathBuf;

use clap::ValueEnum;

use super::method_args::MethodArgs;
use crate::prune::{Allocation, DampingRule, Permute, Propagate, Scope, Within};
use crate::run::DEFAULT_SAMPLES;
use crate::tensor::DType;

/// Calibration tokens.
#[derive(Debug, clap::Args)]
pub(super) struct SampleArgs {
    /// Calibration text: .txt, or JSON lines with a `text` field (.jsonl). Either may be gzipped (.gz) [default: none]
    #[arg(short, long)]
    pub(super) calibration: Option<PathBuf>,
    /// Number of calibration samples
    #[arg(long, default_value_t = DEFAULT_SAMPLES)]
    pub(super) samples: usize,
    /// Tokens per sample [default: 2048, or the model's maximum context length if that is less]
    #[arg(long)]
    pub(super) length: Option<usize>,
    /// Seed for drawing the samples
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
}

/// Calibration tokens, or what was made of some before.
#[derive(Debug, clap::Args)]
pub(super) struct InputArgs {
    #[command(flatten)]
    pub(super) samples: SampleArgs,
    /// Folder that `secateur calibrate` saved, used instead of --calibration. No forward pass is needed. All inputs
    /// are those of the dense model, so errors made earlier in a decoder layer are not corrected. There are no
    /// gradients, so sparsity is uniform unless `lsa` or `owl` spreads it [default: none]
    #[arg(long, value_name = "DIR",
          conflicts_with_all = ["calibration", "samples", "length", "seed", "propagate", "within", "correction", "activations"])]
    pub(super) statistics: Option<PathBuf>,
}

/// How a layer problem is solved.
#[derive(Debug, clap::Args)]
pub(super) struct SolveArgs {
    /// Whether --sparsity holds over the whole matrix or in every row [default: row for wanda, as published, else
    /// matrix]
    #[arg(long, value_enum)]
    pub(super) scope: Option<ScopeArg>,
    /// Conjugate-gradient steps that refit the kept weights after the method. A refit helps after every method
    /// [default: 10 for admm; 20 for surgeon and kfac-fista; 0 for the others, as published]
    #[arg(long)]
    pub(super) refit: Option<usize>,
    /// Damping added to the diagonal of the Gram matrix, as a fraction of the energy (mean square) of an input. Raise
    /// it to 0.1 with few calibration tokens [default: 0.01, or 0.1 with --structure by --score surgeon]
    #[arg(long, allow_negative_numbers = true)]
    pub(super) damping: Option<f64>,
    /// What --damping is a fraction of: each input's `own` energy, or the `mean` energy of all inputs [default: mean
    /// for alps, sparsegpt and --score osscar, as published, else own]
    #[arg(long, value_enum)]
    pub(super) damping_rule: Option<DampingRule>,
    /// Hidden states that enter a decoder layer while it is pruned, and the targets that its linear layers should
    /// match [default: local for admm; dense for fista; pruned for the others, as published]
    #[arg(long, value_enum)]
    pub(super) propagate: Option<Propagate>,
    /// Inputs of the linear layers inside a decoder layer [default: layer, as published; linear for admm and fista,
    /// and wherever --propagate is not the default of the method]
    #[arg(long, value_enum)]
    pub(super) within: Option<Within>,
    /// Measure the output error of every linear layer for wanda, ria and magnitude too. This takes longer, because
    /// these methods otherwise need no Gram matrix
    #[arg(long)]
    pub(super) layer_errors: bool,
    /// Share of the error of earlier linear layers that a linear layer corrects, from 0 to 1. It has no effect where
    /// the target uses the same inputs, as with --propagate pruned [default: 0.5 for admm, else 1, as FISTAPruner]
    #[arg(long, allow_negative_numbers = true)]
    pub(super) correction: Option<f64>,
    /// Prune only these decoder layers, comma-separated and counted from 0, and copy the others unchanged [default:
    /// all]
    #[arg(long, value_delimiter = ',', value_name = "LAYERS")]
    pub(super) layers: Vec<usize>,
    /// How --sparsity is spread over the linear layers. The total number of zeros stays the same. N:M patterns are
    /// always uniform [default: auto]
    #[arg(long, value_enum, default_value = "auto", hide_default_value = true)]
    pub(super) allocation: Allocation,
    /// Largest difference between a linear layer's sparsity and --sparsity, e.g. 0.1 allows 0.6 to 0.8 at 0.7. For lsa
    /// and owl it is half of the difference between the least and the greatest sparsity [default: 0.1; 0.08 for owl;
    /// 0.02 to 0.15 by --sparsity for lsa]
    #[arg(long, allow_negative_numbers = true, value_name = "SPREAD")]
    pub(super) allocation_spread: Option<f64>,
    /// Reorder the inputs of down_proj and o_proj to suit an N:M pattern. The outputs of gate_proj, up_proj and v_proj
    /// are reordered to match, so the model computes the same [default: auto]
    #[arg(long, value_enum, default_value = "auto", hide_default_value = true)]
    pub(super) permute: Permute,
    #[command(flatten)]
    pub(super) of_methods: MethodArgs,
}

/// How much of the model, in how much memory.
#[derive(Debug, clap::Args)]
pub(super) struct MemoryArgs {
    /// Process only the first N decoder layers, to try settings quickly. A prune copies the rest [default: all]
    #[arg(long, value_name = "N")]
    pub(super) limit_layers: Option<usize>,
    /// Limit of the resident memory of the process, e.g. 8GiB. Activations that would exceed it go to a file in the
    /// output folder [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) max_ram: Option<u64>,
    /// Data type of the activations kept between layers [default: f32, or bf16 if f32 would exceed --max-ram]
    #[arg(long, value_enum)]
    pub(super) activations: Option<ActivationArg>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ActivationArg {
    /// 4 bytes, exact
    F32,
    /// 2 bytes, 8 bits of precision
    Bf16,
    /// 2 bytes, 11 bits of precision, values up to 65504
    F16,
}

impl From<ActivationArg> for DType {
    fn from(arg: ActivationArg) -> Self {
        match arg {
            ActivationArg::F32 => DType::F32,
            ActivationArg::Bf16 => DType::BF16,
            ActivationArg::F16 => DType::F16,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ScopeArg {
    /// Over the whole matrix
    Matrix,
    /// In every row, that is, for each output
    Row,
}

impl From<ScopeArg> for Scope {
    fn from(scope: ScopeArg) -> Self {
        match scope {
            ScopeArg::Matrix => Scope::Matrix,
            ScopeArg::Row => Scope::Row,
        }
    }
}

/// A fraction from `0.5` or `50%`, in range or not.
pub(super) fn fraction(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    let value = number.trim().parse::<f64>();
    value
        .map(|value| value / unit)
        .map_err(|_| "write e.g. 0.5 or 50%".to_string())
}

/// Bytes from `6GiB`, `6GB`, `800M` or a plain number.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1_u64 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(format!("`{unit}` is no unit of memory; write e.g. 6GiB or 800MiB")),
    };
    match number.parse::<f64>() {
        Ok(value) if value > 0.0 => Ok((value * factor as f64) as u64),
        _ => Err("write a size above 0, e.g. 6GiB or 800MiB".into()),
    }
}
