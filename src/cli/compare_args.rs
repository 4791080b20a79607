//! The command line of `secateur compare`.

use std::path::PathBuf;
use std::str::FromStr;

use super::eval_args::WindowArgs;
use super::run_args::{InputArgs, MemoryArgs, SolveArgs, fraction};
use super::surgeon_args::SurgeonArgs;
use crate::prune::{Pattern, PruneError, Scope};

#[derive(Debug, clap::Args)]
pub(super) struct CompareArgs {
    /// Folder of a Hugging Face checkpoint (config.json, *.safetensors, tokenizer.json)
    pub(super) model: PathBuf,
    /// Folder for compare.md, compare.csv and compare.json, which are written after every row. Run the same command
    /// again to add missing rows, also after adding methods, targets or seeds
    #[arg(short, long)]
    pub(super) output: PathBuf,
    /// Text to evaluate on, as in `eval --text`. Repeat the flag or separate several texts by commas
    #[arg(
        short,
        long,
        required = true,
        value_delimiter = ',',
        visible_alias = "text",
        value_name = "TEXT"
    )]
    pub(super) eval: Vec<PathBuf>,
    /// Methods of `prune --method`, comma-separated. `wanda+0` is wanda with 0 refit steps, whatever --refit says
    #[arg(
        short,
        long,
        visible_alias = "method",
        value_delimiter = ',',
        value_name = "METHODS",
        default_value = "magnitude,wanda,fista,admm"
    )]
    pub(super) methods: Vec<MethodArg>,
    /// Targets, comma-separated: a fraction of weights to remove (50% or 0.5), or an N:M pattern (2:4)
    #[arg(short, long, visible_aliases = ["sparsity", "pattern"], value_delimiter = ',', value_name = "TARGETS",
          allow_negative_numbers = true, default_value = "50%,2:4")]
    pub(super) targets: Vec<TargetArg>,
    /// Seeds, comma-separated. Every row is run with each of them [default: the seed of --seed]
    #[arg(long, value_delimiter = ',', value_name = "SEEDS", conflicts_with_all = ["seed", "statistics"])]
    pub(super) seeds: Vec<u64>,
    #[command(flatten)]
    pub(super) inputs: InputArgs,
    #[command(flatten)]
    pub(super) solve: SolveArgs,
    #[command(flatten)]
    pub(super) surgeon: SurgeonArgs,
    #[command(flatten)]
    pub(super) memory: MemoryArgs,
    #[command(flatten)]
    pub(super) windows: WindowArgs,
    /// Keep the pruned checkpoints in this folder [default: each is removed once it has been evaluated]
    #[arg(long, value_name = "DIR")]
    pub(super) keep: Option<PathBuf>,
}

/// A method of a comparison, with a refit of its own if one is given.
#[derive(Clone, Debug)]
pub(super) struct MethodArg {
    pub(super) name: String,
    pub(super) refit: Option<usize>,
}

impl FromStr for MethodArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, steps)) = text.split_once('+') else {
            let (name, refit) = (text.to_string(), None);
            return Ok(MethodArg { name, refit });
        };
        match steps.parse() {
            Ok(steps) => Ok(MethodArg {
                name: name.to_string(),
                refit: Some(steps),
            }),
            Err(_) => Err("write a method, or a method and its steps of refit, e.g. wanda+0".into()),
        }
    }
}

/// A target of a comparison.
#[derive(Clone, Copy, Debug)]
pub(super) enum TargetArg {
    /// Fraction of weights to remove.
    Sparsity(f64),
    /// N:M.
    Pattern(Pattern),
}

impl FromStr for TargetArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(':') {
            return text
                .parse()
                .map(TargetArg::Pattern)
                .map_err(|e: PruneError| e.to_string());
        }
        let sparsity = fraction(text).map_err(|e| format!("{e}, or 2:4"))?;
        // Where it holds is another flag; whether it makes sense does not depend on that.
        let checked = Pattern::unstructured(sparsity, Scope::Matrix);
        checked
            .map(|_| TargetArg::Sparsity(sparsity))
            .map_err(|e| e.to_string())
    }
}
