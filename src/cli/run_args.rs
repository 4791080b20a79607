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
    /// Calibration text: .txt, or JSON lines with a `text` field (.jsonl), each also .gz [default: none]
    #[arg(short, long)]
    pub(super) calibration: Option<PathBuf>,
    /// Calibration samples
    #[arg(long, default_value_t = DEFAULT_SAMPLES)]
    pub(super) samples: usize,
    /// Tokens per sample [default: 2048, or what the model was made for if less]
    #[arg(long)]
    pub(super) length: Option<usize>,
    /// Seed of the sampling
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
}

/// Calibration tokens, or what was made of some before.
#[derive(Debug, clap::Args)]
pub(super) struct InputArgs {
    #[command(flatten)]
    pub(super) samples: SampleArgs,
    /// Folder that `secateur calibrate` saved, instead of --calibration: no forward pass, so many prunes from one; inputs
    /// are then those of the dense model, errors made earlier in a layer are not corrected, and without gradients sparsity
    /// is uniform, unless spread by `lsa` or `owl` [default: none]
    #[arg(long, value_name = "DIR",
          conflicts_with_all = ["calibration", "samples", "length", "seed", "propagate", "within", "correction", "activations"])]
    pub(super) statistics: Option<PathBuf>,
}

/// How a layer problem is solved.
#[derive(Debug, clap::Args)]
pub(super) struct SolveArgs {
    /// Where --sparsity holds: over the whole matrix, or in every row [default: row for wanda, as published, else matrix]
    #[arg(long, value_enum)]
    pub(super) scope: Option<ScopeArg>,
    /// Conjugate-gradient steps that refit the kept weights after the method; worth having after any of them [default:
    /// 10 for admm, 20 for surgeon and kfac-fista, 0, the method as published, for the others]
    #[arg(long)]
    pub(super) refit: Option<usize>,
    /// Damping, as a fraction of an input's energy; raise it to 0.1 with few calibration tokens [default: 0.01, or 0.1 with
    /// --structure by --score surgeon]
    #[arg(long, allow_negative_numbers = true)]
    pub(super) damping: Option<f64>,
    /// What the damping is a fraction of: each input's `own` energy, or the `mean` over the inputs [default: mean
    /// for alps, sparsegpt and --score osscar, as published, else own]
    #[arg(long, value_enum)]
    pub(super) damping_rule: Option<DampingRule>,
    /// Inputs of a decoder layer: those of the `dense` model, or of the `pruned` one; `local` is pruned with the targets of
    /// the dense layer, `both` is pruned with those of the dense model, whose stream goes beside [default:
    /// local for admm, dense for fista, pruned, as published, for the others]
    #[arg(long, value_enum)]
    pub(super) propagate: Option<Propagate>,
    /// Inputs of the linear layers inside a decoder layer: all as the dense decoder layer makes them, which then runs again
    /// pruned (`layer`), or each as the pruned ones before it make them (`linear`) [default: layer, as published, for
    /// alps, sparsegpt, ria, wanda and magnitude at --propagate pruned, else linear]
    #[arg(long, value_enum)]
    pub(super) within: Option<Within>,
    /// Measure the output error of every linear layer for methods that could do without its Gram matrix (wanda, ria,
    /// magnitude), which takes longer
    #[arg(long)]
    pub(super) layer_errors: bool,
    /// Share of the error of earlier linears that a linear corrects, 0 to 1, where targets are not on the same
    /// inputs [default: 0.5 for admm, else 1, as FISTAPruner]
    #[arg(long, allow_negative_numbers = true)]
    pub(super) correction: Option<f64>,
    /// Prune only these decoder layers, comma-separated and counted from 0, and leave the others as they are [default: all]
    #[arg(long, value_delimiter = ',', value_name = "LAYERS")]
    pub(super) layers: Vec<usize>,
    /// How --sparsity is spread over the linears, at the same number of zeros: the same in each (`uniform`), where a weight
    /// costs least by the curvature of the loss, which also weighs the outputs of each linear (a forward and a backward
    /// pass on at most 32768 of the tokens, from all over the text), or as published by the redundancy of each layer
    /// (`lsa`) or its share of outliers (`owl`; a forward pass); `auto` is curvature from 50 % upward with admm, else
    /// uniform [default: auto]
    #[arg(long, value_enum, default_value = "auto", hide_default_value = true)]
    pub(super) allocation: Allocation,
    /// How far a linear's sparsity may lie from --sparsity under --allocation, e.g. 0.1 for 0.6 to 0.8; of `lsa` and `owl` half
    /// of the way from the least to the greatest [default: 0.1, 0.08 for owl, 0.02 to 0.15 by --sparsity for lsa]
    #[arg(long, allow_negative_numbers = true, value_name = "SPREAD")]
    pub(super) allocation_spread: Option<f64>,
    /// Reorder the inputs of down and o (the outputs of gate, up and v follow, so the model computes the same) to suit an
    /// N:M pattern; `auto` does with admm [default: auto]
    #[arg(long, value_enum, default_value = "auto", hide_default_value = true)]
    pub(super) permute: Permute,
    #[command(flatten)]
    pub(super) of_methods: MethodArgs,
}

/// How much of the model, in how much memory.
#[derive(Debug, clap::Args)]
pub(super) struct MemoryArgs {
    /// Only the first N decoder layers (a prune copies the rest), to try settings quickly [default: all]
    #[arg(long, value_name = "N")]
    pub(super) limit_layers: Option<usize>,
    /// Most resident memory of the process, e.g. 8GiB: beyond it activations go to a file in the output folder [default:
    /// no limit]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) max_ram: Option<u64>,
    /// Type of the activations kept between layers [default: f32, or bf16 where that exceeds --max-ram]
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
    /// In every row (output)
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
