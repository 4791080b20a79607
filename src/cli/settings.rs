//! What the flags that several commands share mean to a run.

use std::path::{Path, PathBuf};

use super::args::{Common, PruneArgs};
use super::exit::CliError;
use super::run_args::{InputArgs, MemoryArgs, SampleArgs, SolveArgs};
use crate::calib::SampleSpec;
use crate::model::Spec;
use crate::prune::{Damping, MethodRow, Pattern, Propagate, Scope, Within, method};
use crate::run::{DEFAULT_LENGTH, PruneOptions, StatisticsSource};

/// Which weights go.
pub(super) fn pattern(args: &PruneArgs) -> Result<Pattern, CliError> {
    Ok(match (args.sparsity, &args.pattern) {
        (Some(sparsity), _) => Pattern::unstructured(sparsity, scope(&args.solve, &args.method))?,
        (None, Some(pattern)) => pattern.parse()?,
        (None, None) => unreachable!("clap requires one of the two"),
    })
}

/// Where a sparsity holds: as asked for, or as the method was published.
pub(super) fn scope(solve: &SolveArgs, name: &str) -> Scope {
    match solve.scope {
        Some(scope) => scope.into(),
        None => method(name).map_or(Scope::Matrix, |method| method.defaults.scope),
    }
}

/// What prunes have in common: all but output, pattern and method.
pub(super) fn options(
    common: &Common,
    model: &Path,
    spec: &Spec,
    method: &'static MethodRow,
    (inputs, solve, memory): (&InputArgs, &SolveArgs, &MemoryArgs),
) -> Result<PruneOptions, CliError> {
    let mut options = walk_options(
        common,
        model,
        spec,
        (&inputs.samples, memory),
        inputs.statistics.is_some(),
    )?;
    if let Some(folder) = &inputs.statistics {
        options.sums = StatisticsSource::Loaded(folder.clone());
    }
    let options = options.by(method);
    let propagate = match inputs.statistics {
        Some(_) => Propagate::Dense,
        None => solve.propagate.unwrap_or(options.propagate),
    };
    // Other inputs than the method's own come with targets of their own, which a linear layer's predecessors decide.
    let within = match propagate == options.propagate {
        true => options.within,
        false => Within::Linear,
    };
    Ok(PruneOptions {
        method_options: solve.of_methods.of(method)?,
        refit: solve.refit.unwrap_or(options.refit),
        damping: Damping {
            rule: solve.damping_rule.unwrap_or(options.damping.rule),
            fraction: solve.damping.unwrap_or(options.damping.fraction),
        },
        correction: solve.correction.unwrap_or(options.correction),
        only_layers: solve.layers.clone(),
        permute: solve.permute,
        allocation: solve.allocation,
        spread: solve.allocation_spread,
        propagate,
        within: solve.within.unwrap_or(within),
        layer_errors: solve.layer_errors,
        ..options
    })
}

/// What all walks have in common; `statistics` says that they need no text.
pub(super) fn walk_options(
    common: &Common,
    model: &Path,
    spec: &Spec,
    (samples, memory): (&SampleArgs, &MemoryArgs),
    statistics: bool,
) -> Result<PruneOptions, CliError> {
    let calibration = match &samples.calibration {
        Some(text) => text.clone(),
        None if statistics => PathBuf::new(),
        None => {
            let message = "--calibration is missing: a text file whose tokens the model is run on (.txt or .jsonl)";
            return Err(CliError::setting(message.into()));
        }
    };
    if spec.needs_bos && spec.bos.is_none() && !statistics {
        let message = "config.json has no bos_token_id, without which samples are nonsense to this family: add it";
        return Err(CliError::setting(message.into()));
    }
    let draw = SampleSpec {
        samples: samples.samples,
        length: length(samples.length, spec.max_positions, "--length")?,
        seed: samples.seed,
        bos: spec.bos.filter(|_| spec.needs_bos),
    };
    Ok(PruneOptions {
        limit_layers: memory.limit_layers,
        activations: memory.activations.map(Into::into),
        max_vram: common.max_vram,
        max_ram: memory.max_ram,
        ..PruneOptions::new(model.into(), PathBuf::new(), calibration, draw)
    })
}

/// A length asked for or the default, refused if the model cannot have it.
pub(super) fn length(asked: Option<usize>, longest: usize, flag: &str) -> Result<usize, CliError> {
    match asked {
        None => Ok(DEFAULT_LENGTH.min(longest)),
        Some(length) if length > longest => {
            let message = format!(
                "{flag} {length} is beyond the model's {longest} positions (max_position_embeddings); use less"
            );
            Err(CliError::setting(message))
        }
        Some(length) => Ok(length),
    }
}
