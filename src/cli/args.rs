//! The command line as clap sees it. Help names the default and the unit of every flag.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Parser, Subcommand};

use super::bench_args::BenchArgs;
use super::compare_args::CompareArgs;
use super::eval_args::EvalArgs;
use super::run_args::{InputArgs, MemoryArgs, SampleArgs, SolveArgs, fraction, size};
use super::structure_args::StructureArgs;
use super::surgeon_args::SurgeonArgs;
use crate::gpu::AdapterChoice;
use crate::prune::{METHODS, MethodRow, method};
use crate::run::{AUTO, regimes};

/// Prunes large language models after training. Reads a Hugging Face checkpoint and writes a sparser or smaller one, on
/// any GPU.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 unsupported model, 4 over a memory limit, 5 verification of the
/// output failed, 130 interrupted.
///
/// Environment: SECATEUR_ADAPTER sets --adapter. SECATEUR_TUNE=off|load|full chooses the kernel variants (such as tile
/// sizes) of matrix products. `off` uses the default ones. `load` uses those that earlier runs measured as fastest.
/// `full` also measures what is not known yet. The default is `full` on a GPU and `load` on a driver that runs on the
/// CPU. Measurements are kept in tune.json in the user's cache folder. SECATEUR_COOP=auto|off: with `auto`, the
/// default, some matrix products may use cooperative matrices (e.g. tensor cores) where the GPU has them, but never on
/// a driver that runs on the CPU. `off` never uses them.
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
    /// Device: `auto` (a hardware GPU if there is one, else the CPU), `cpu`, or an index or part of a name from
    /// `secateur doctor`
    #[arg(long, global = true, default_value = "auto", env = "SECATEUR_ADAPTER")]
    pub(super) adapter: AdapterChoice,
    /// Print the result as JSON on stdout
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Print no progress and no notes on stderr
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// Print the time of each kernel at the end
    #[arg(long, global = true)]
    pub(super) profile: bool,
    /// Limit of memory for buffers on the device, e.g. 6GiB or 800MiB [default: what the device has]
    #[arg(long, global = true, value_name = "SIZE", value_parser = size)]
    pub(super) max_vram: Option<u64>,
    /// Keep a GPU that also drives the display responsive: run short pieces of work, and pause after each for as long
    /// as it ran
    #[arg(long, global = true)]
    pub(super) gentle: bool,
    /// In attention of forward passes, keep queries, keys and values in 16 bits in workgroup (shared) memory. This
    /// halves that memory. The values then have 11 bits of precision and must not exceed 65504
    #[arg(long, global = true)]
    pub(super) half_attention: bool,
    /// Family file that describes an architecture that is not built in, see models/README.md [default: the built-in
    /// one]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) family: Option<PathBuf>,
    /// Debug: run every kernel on the CPU too, and stop at the first whose outputs differ (slow)
    #[arg(long, global = true, env = "SECATEUR_VERIFY_KERNELS", hide_short_help = true)]
    pub(super) verify_kernels: bool,
    /// Debug: pretend that one buffer binding on the device holds at most this many bytes
    #[arg(long, global = true, env = "SECATEUR_MAX_BINDING", hide_short_help = true)]
    pub(super) max_binding: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Prune a checkpoint
    Prune(PruneArgs),
    /// Show what `prune` would do and the memory, disk and time it needs, like `prune --dry-run`
    Plan(PruneArgs),
    /// Run the dense model on the calibration text once and save the Gram matrices of its linear layers. Any number of
    /// prunes can use them without a forward pass
    Calibrate(CalibrateArgs),
    /// Show the family, sizes, prunable linear layers, tied weights and zeros of a checkpoint. Needs no device
    Inspect(InspectArgs),
    /// Measure the perplexity of a checkpoint, and its KL divergence from another
    Eval(EvalArgs),
    /// Prune with several methods to several targets, and compare layer errors, perplexity, time and memory
    Compare(CompareArgs),
    /// Time the kernels at shapes of real layers, check them against f64 references, and relate their speed to the
    /// peak measured on the device
    Bench(BenchArgs),
    /// List adapters, limits, memory and disk, and validate the shaders
    Doctor,
    /// Prune the built-in model with four methods and compare perplexities
    Demo(DemoArgs),
}

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("target").required(true).args(["sparsity", "pattern"])))]
pub(super) struct PruneArgs {
    /// Folder of a Hugging Face checkpoint (config.json, *.safetensors, tokenizer.json)
    pub(super) model: PathBuf,
    /// Output folder. It must be new or empty, unless --resume continues a run in it
    #[arg(short, long)]
    pub(super) output: PathBuf,
    /// Fraction of weights to remove, e.g. 0.5 or 50%
    #[arg(short, long, allow_negative_numbers = true, value_parser = fraction)]
    pub(super) sparsity: Option<f64>,
    /// N:M pattern: keep N of every M consecutive weights in a row, e.g. 2:4
    #[arg(short, long)]
    pub(super) pattern: Option<String>,
    /// Pruning method [default: auto]
    #[arg(short, long, default_value = AUTO, hide_default_value = true, value_parser = methods())]
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
    /// Continue an unfinished run in the output folder, after its last finished decoder layer or, for LLM Surgeon, shot
    #[arg(long)]
    pub(super) resume: bool,
    /// Print the plan, with predicted peak memory, and stop
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl PruneArgs {
    /// The row of the method, once `auto` has become one that exists.
    pub(super) fn row(&self) -> &'static MethodRow {
        method(&self.method).expect("a method that was looked up before")
    }
}

/// The methods, each with its line of help.
fn methods() -> impl TypedValueParser<Value = String> {
    let auto = PossibleValue::new(AUTO).help(regimes());
    let rows = METHODS.iter().map(|row| {
        let paper = if row.paper.is_empty() {
            String::new()
        } else {
            format!(" ({})", row.paper)
        };
        PossibleValue::new(row.name).help(format!("{}{paper}", row.help))
    });
    PossibleValuesParser::new([auto].into_iter().chain(rows))
}

#[derive(Debug, clap::Args)]
pub(super) struct CalibrateArgs {
    /// Folder of a Hugging Face checkpoint (config.json, *.safetensors, tokenizer.json)
    pub(super) model: PathBuf,
    /// Folder for the statistics. It must be new or empty, unless --resume continues a run in it. Each Gram matrix
    /// takes 4 bytes per entry: 22 GB for a Llama of 7 billion weights
    #[arg(short, long)]
    pub(super) output: PathBuf,
    #[command(flatten)]
    pub(super) samples: SampleArgs,
    #[command(flatten)]
    pub(super) memory: MemoryArgs,
    /// Continue an unfinished run in the output folder, after its last finished decoder layer
    #[arg(long)]
    pub(super) resume: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct InspectArgs {
    /// Folder of a Hugging Face checkpoint
    pub(super) model: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// Keep the model and the pruned checkpoints in this folder [default: a temporary one, removed at the end]
    #[arg(short, long)]
    pub(super) output: Option<PathBuf>,
    /// Calibration samples of 256 tokens
    #[arg(long, default_value_t = 64)]
    pub(super) samples: usize,
    /// Evaluation windows of 256 tokens; 0 means all
    #[arg(long, default_value_t = 0)]
    pub(super) windows: usize,
}
