//! The command line as clap sees it. Help names the default and the unit of every flag.

use std::path::PathBuf;

use clap::{ArgGroup, Parser, Subcommand, ValueEnum};

use super::bench_args::BenchArgs;
use super::compare_args::CompareArgs;
use super::eval_args::EvalArgs;
use super::structure_args::StructureArgs;
use super::surgeon_args::SurgeonArgs;
use crate::gpu::AdapterChoice;
use crate::prune::{Allocation, DampingRule, Permute, Propagate, Scope, WarmStart};
use crate::tensor::DType;

/// Prunes large language models after training: a Hugging Face checkpoint in, a sparser one out, on any GPU.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 unsupported model, 4 over a memory limit, 5 verification of the output failed, 130 interrupted.
///
/// Environment: SECATEUR_ADAPTER as --adapter. SECATEUR_TUNE=off|load|full: take the default tiles of products, those that earlier runs found fastest, or measure what is not known yet (default full on a GPU, load on a driver that runs on the CPU); results are kept in tune.json in the user's cache folder. SECATEUR_COOP=auto|off: whether products that allow it may run on cooperative matrices where the GPU has them (default auto; never on a driver that runs on the CPU).
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// Device: `auto` (a hardware adapter, else the host), `cpu` (the host executor), an index or part of a name from
    /// `secateur doctor`
    #[arg(long, global = true, default_value = "auto", env = "SECATEUR_ADAPTER")]
    pub(super) adapter: AdapterChoice,
    /// Print the result as JSON on stdout
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// No progress and no notes on stderr
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// Print the time of each kernel at the end
    #[arg(long, global = true)]
    pub(super) profile: bool,
    /// Most memory for buffers on the device, e.g. 6GiB or 800MiB [default: what the device has]
    #[arg(long, global = true, value_name = "SIZE", value_parser = size)]
    pub(super) max_vram: Option<u64>,
    /// For a GPU that draws the screen too: small pieces of work, and after each a rest as long as it took
    #[arg(long, global = true)]
    pub(super) gentle: bool,
    /// Keep blocks of attention in 16 bits on the device in forward passes: half the fast memory, for 11 bits of
    /// precision in queries, keys and values, at most 65504
    #[arg(long, global = true)]
    pub(super) half_attention: bool,
    /// A family file for an architecture that is not built in (models/README.md) [default: the built-in one]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) family: Option<PathBuf>,
    /// Debug: play every kernel on the host too and stop at the first whose outputs differ (slow)
    #[arg(long, global = true, env = "SECATEUR_VERIFY_KERNELS", hide_short_help = true)]
    pub(super) verify_kernels: bool,
    /// Debug: pretend that the device binds at most this many bytes
    #[arg(long, global = true, env = "SECATEUR_MAX_BINDING", hide_short_help = true)]
    pub(super) max_binding: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Prune a checkpoint
    Prune(PruneArgs),
    /// What a prune would do and take: the same as `prune --dry-run`
    Plan(PruneArgs),
    /// Run the dense model on the calibration text once and save what its linears see, for any number of prunes without a
    /// forward pass
    Calibrate(CalibrateArgs),
    /// Show what a checkpoint is: family, sizes, prunable linears, ties and zeros; needs no device
    Inspect(InspectArgs),
    /// Perplexity of a checkpoint, and its divergence from another
    Eval(EvalArgs),
    /// Prune by several methods to several targets and compare layer errors, perplexity, time and memory
    Compare(CompareArgs),
    /// Time the kernels at shapes of real layers, check them against f64 twins, and say how far they are from what the device
    /// can do at most
    Bench(BenchArgs),
    /// Show adapters, limits, memory and disk, and check the shaders
    Doctor,
    /// Prune the built-in model and compare methods
    Demo(DemoArgs),
}

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("target").required(true).args(["sparsity", "pattern"])))]
pub(super) struct PruneArgs {
    /// Folder of a Hugging Face checkpoint (config.json, *.safetensors, tokenizer.json)
    pub(super) model: PathBuf,
    /// Output folder; must not exist or be empty, unless a run in it is resumed
    #[arg(short, long)]
    pub(super) output: PathBuf,
    /// Fraction of weights to remove, e.g. 0.5
    #[arg(short, long, allow_negative_numbers = true)]
    pub(super) sparsity: Option<f64>,
    /// N:M pattern: N weights kept of every M along the inputs, e.g. 2:4
    #[arg(short, long)]
    pub(super) pattern: Option<String>,
    #[arg(short, long, default_value = crate::run::AUTO, help = method_help())]
    pub(super) method: String,
    /// Why `auto` became this method.
    #[arg(skip)]
    pub(super) chosen: Option<String>,
    #[command(flatten)]
    pub(super) inputs: InputArgs,
    #[command(flatten)]
    pub(super) solve: SolveArgs,
    #[command(flatten)]
    pub(super) surgeon: SurgeonArgs,
    #[command(flatten)]
    pub(super) structure: StructureArgs,
    #[command(flatten)]
    pub(super) memory: MemoryArgs,
    /// Go on with an unfinished run in the output folder, after its last finished decoder layer
    #[arg(long)]
    pub(super) resume: bool,
    /// Print what would happen, with predicted peak memory, and stop
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// What --method says in the help.
fn method_help() -> String {
    format!(
        "Pruning method: admm, alps, fista, sparsegpt, ria, wanda or magnitude, one layer after the other; surgeon (LLM \
         Surgeon), which weighs all layers against each other by gradients, shot after shot; kfac-fista, which improves \
         each shot of it by convex pruning in the metric of the curvature, at several times the arithmetic; or auto: {}",
        crate::run::regimes()
    )
}

/// Calibration tokens.
#[derive(Debug, clap::Args)]
pub(super) struct SampleArgs {
    /// Calibration text: .txt, or JSON lines with a `text` field (.jsonl), each also .gz [default: none]
    #[arg(short, long)]
    pub(super) calibration: Option<PathBuf>,
    /// Calibration samples
    #[arg(long, default_value_t = 128)]
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
    /// are then those of the dense model, and errors made earlier in a layer are not corrected [default: none]
    #[arg(long, value_name = "DIR",
          conflicts_with_all = ["calibration", "samples", "length", "seed", "propagate", "correction", "activations"])]
    pub(super) statistics: Option<PathBuf>,
}

/// How a layer problem is solved.
#[derive(Debug, clap::Args)]
pub(super) struct SolveArgs {
    /// Where --sparsity holds: over the whole matrix, or in every row
    #[arg(long, value_enum, default_value = "matrix")]
    pub(super) scope: ScopeArg,
    /// Where fista begins; published runs take `sparsegpt` for OPT and `wanda` for LLaMA
    #[arg(long, value_enum, default_value = "wanda")]
    pub(super) warm_start: WarmStartArg,
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
    /// the dense layer [default: local for admm, dense for fista, pruned, as published, for the others]
    #[arg(long, value_enum)]
    pub(super) propagate: Option<Propagate>,
    /// Share of the error of earlier linears that a linear corrects, 0 to 1, with --propagate dense or local
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub(super) correction: f64,
    /// Prune only these decoder layers, comma-separated and counted from 0, and leave the others as they are [default: all]
    #[arg(long, value_delimiter = ',', value_name = "LAYERS")]
    pub(super) layers: Vec<usize>,
    /// How --sparsity is spread over the linears, at the same number of zeros: the same in each (`uniform`), where a weight
    /// costs least by the curvature of the loss, which also weighs the outputs of each linear (a forward and a backward
    /// pass), so that the sum of the linears' errors is least (a forward pass), or by each layer's share of outliers
    /// (`owl`); `auto` is curvature from 50 % upward with admm, else uniform [default: auto]
    #[arg(long, value_enum, default_value = "auto", hide_default_value = true)]
    pub(super) allocation: Allocation,
    /// How far a linear's sparsity may lie from --sparsity under --allocation, e.g. 0.1 for 0.6 to 0.8
    #[arg(long, default_value_t = crate::run::SPREAD, allow_negative_numbers = true, value_name = "SPREAD")]
    pub(super) allocation_spread: f64,
    /// Reorder the inputs of down and o (the outputs of gate, up and v follow, so the model computes the same) to suit an
    /// N:M pattern; `auto` does with admm [default: auto]
    #[arg(long, value_enum, default_value = "auto", hide_default_value = true)]
    pub(super) permute: Permute,
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

#[derive(Debug, clap::Args)]
pub(super) struct CalibrateArgs {
    /// Folder of a Hugging Face checkpoint (config.json, *.safetensors, tokenizer.json)
    pub(super) model: PathBuf,
    /// Folder for the statistics; must not exist or be empty. Takes 4 bytes per pair of inputs of a group of linears:
    /// 25 GB for a Llama of 7 billion weights
    #[arg(short, long)]
    pub(super) output: PathBuf,
    #[command(flatten)]
    pub(super) samples: SampleArgs,
    #[command(flatten)]
    pub(super) memory: MemoryArgs,
}

/// Bytes from `6GiB`, `6GB`, `800M` or a plain number.
fn size(text: &str) -> Result<u64, String> {
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

#[derive(Debug, clap::Args)]
pub(super) struct InspectArgs {
    /// Folder of a Hugging Face checkpoint
    pub(super) model: PathBuf,
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

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum WarmStartArg {
    /// The largest |w| ‖x‖ as they are
    Wanda,
    /// SparseGPT's weights
    #[value(name = "sparsegpt")]
    SparseGpt,
}

impl From<WarmStartArg> for WarmStart {
    fn from(start: WarmStartArg) -> Self {
        match start {
            WarmStartArg::Wanda => WarmStart::Wanda,
            WarmStartArg::SparseGpt => WarmStart::SparseGpt,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// Keep the model and the pruned checkpoints in this folder [default: a temporary one, removed at the end]
    #[arg(short, long)]
    pub(super) output: Option<PathBuf>,
    /// Calibration samples of 256 tokens
    #[arg(long, default_value_t = 64)]
    pub(super) samples: usize,
    /// Evaluation windows of 256 tokens; 0 is all
    #[arg(long, default_value_t = 0)]
    pub(super) windows: usize,
}
