//! `secateur prune`.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::args::{Common, InputArgs, MemoryArgs, PruneArgs, SampleArgs, SolveArgs};
use super::exit::CliError;
use super::progress::Bar;
use super::structure;
use super::surgeon;
use super::{open_gpu, print, print_profile, say, spec};
use crate::calib::SampleSpec;
use crate::checkpoint::Checkpoint;
use crate::gpu::Gpu;
use crate::model::Spec;
use crate::prune::{Damping, Pattern, Propagate};
use crate::report::{PruneReport, prune_table};
use crate::run::{
    AUTO, Asked, BY_GRADIENTS, Plan, PruneOptions, RunError, SURGEON, Sums, SurgeonOptions, WeightsOnly, choose,
    gemm_rate, prune_weights,
};

/// Tokens per sample or window unless the model was made for less.
pub(super) const DEFAULT_LENGTH: usize = 2048;

pub(super) fn run(common: &Common, args: &mut PruneArgs, stop: &AtomicBool) -> Result<(), CliError> {
    settle(args)?;
    if args.dry_run {
        return plan(common, args);
    }
    let pattern = pattern(args)?;
    let checkpoint = Checkpoint::open(&args.model)?;
    match spec(common, &checkpoint) {
        Ok(spec) => with_spec(common, args, &checkpoint, spec, stop),
        Err(error) => match error.unknown_architecture().filter(|_| args.method == "magnitude") {
            Some(reason) => weights_only(common, args, &checkpoint, WeightsOnlyArgs { pattern, reason, stop }),
            None => Err(error),
        },
    }
}

/// `secateur plan`.
pub(super) fn run_plan(common: &Common, args: &mut PruneArgs) -> Result<(), CliError> {
    settle(args)?;
    plan(common, args)
}

/// Puts a method in place of `auto`.
fn settle(args: &mut PruneArgs) -> Result<(), CliError> {
    if args.method == AUTO {
        let regime = choose(&Asked {
            pattern: pattern(args)?,
            structure: args.structure.any(),
            gradients: surgeon::refuse_others(args, AUTO).is_ok(),
        });
        args.method = regime.method.to_string();
        args.chosen = Some(format!("{}: {}", regime.name, regime.reason));
    }
    Ok(())
}

fn with_spec(
    common: &Common,
    args: &PruneArgs,
    checkpoint: &Checkpoint,
    spec: Spec,
    stop: &AtomicBool,
) -> Result<(), CliError> {
    args.structure.check()?;
    if args.method == SURGEON && args.structure.shrinks() {
        return structure::run(common, args, checkpoint, spec, stop);
    }
    if BY_GRADIENTS.contains(&args.method.as_str()) {
        return surgeon::run(common, args, checkpoint, spec, stop);
    }
    surgeon::refuse_flags(args, &args.method)?;
    let (gpu, plan) = resolve(common, args, checkpoint, spec)?;
    carry_out(common, &gpu, &describe(&plan), |bar| {
        crate::run::prune(&plan, checkpoint, &gpu, bar, stop)
    })
}

/// Says what a plan is, plays it under a progress bar and prints its report.
pub(super) fn carry_out(
    common: &Common,
    gpu: &Gpu,
    plan: &str,
    work: impl FnOnce(&mut Bar) -> Result<PruneReport, RunError>,
) -> Result<(), CliError> {
    say(common, plan);
    let mut bar = Bar::new(common);
    let result = work(&mut bar);
    bar.finish();
    let report = result?;
    print(common, &report, || prune_table(&report));
    print_profile(common, gpu);
    Ok(())
}

/// What a prune would do.
fn plan(common: &Common, args: &PruneArgs) -> Result<(), CliError> {
    // Settings are checked before anything is opened, the checkpoint before a device is.
    pattern(args)?;
    let checkpoint = Checkpoint::open(&args.model)?;
    let spec = spec(common, &checkpoint)?;
    args.structure.check()?;
    if args.method == SURGEON && args.structure.shrinks() {
        return structure::plan(common, args, &checkpoint, spec);
    }
    if BY_GRADIENTS.contains(&args.method.as_str()) {
        return surgeon::plan(common, args, &checkpoint, spec);
    }
    surgeon::refuse_flags(args, &args.method)?;
    let (gpu, plan) = resolve(common, args, &checkpoint, spec)?;
    let seconds = plan.flops / gemm_rate(&gpu, plan.spec.hidden)?;
    let timed = Timed { plan: &plan, seconds };
    print(common, &timed, || format!("{}\n{}", describe(&plan), duration(seconds)));
    Ok(())
}

/// A plan with the time it may take on this device.
#[derive(serde::Serialize)]
struct Timed<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    seconds: f64,
}

fn duration(seconds: f64) -> String {
    let minutes = seconds / 60.0;
    if minutes < 2.0 {
        format!("roughly {seconds:.0} seconds, from a product timed on this device")
    } else if minutes < 120.0 {
        format!("roughly {minutes:.0} minutes, from a product timed on this device")
    } else {
        format!(
            "roughly {:.1} hours, from a product timed on this device",
            minutes / 60.0
        )
    }
}

struct WeightsOnlyArgs<'a> {
    pattern: Pattern,
    /// The architecture that is not known.
    reason: String,
    stop: &'a AtomicBool,
}

/// All that can be done for an architecture without a family file.
fn weights_only(
    common: &Common,
    args: &PruneArgs,
    checkpoint: &Checkpoint,
    more: WeightsOnlyArgs<'_>,
) -> Result<(), CliError> {
    let options = WeightsOnly {
        output: args.output.clone(),
        pattern: more.pattern,
        reason: more.reason,
    };
    let gpu = open_gpu(common)?;
    let mut bar = Bar::new(common);
    let result = prune_weights(&options, checkpoint, &gpu, &mut bar, more.stop);
    bar.finish();
    let report = result?;
    print(common, &report, || prune_table(&report));
    Ok(())
}

pub(super) fn pattern(args: &PruneArgs) -> Result<Pattern, CliError> {
    Ok(match (args.sparsity, &args.pattern) {
        (Some(sparsity), _) => Pattern::unstructured(sparsity, args.solve.scope.into())?,
        (None, Some(pattern)) => pattern.parse()?,
        (None, None) => unreachable!("clap requires one of the two"),
    })
}

fn resolve(common: &Common, args: &PruneArgs, checkpoint: &Checkpoint, spec: Spec) -> Result<(Gpu, Plan), CliError> {
    let options = PruneOptions {
        output: args.output.clone(),
        pattern: pattern(args)?,
        resume: args.resume,
        chosen: args.chosen.clone(),
        ..options(
            common,
            &args.model,
            &spec,
            &args.method,
            (&args.inputs, &args.solve, &args.memory),
        )?
    };
    let gpu = open_gpu(common)?;
    let plan = Plan::resolve(options, checkpoint, spec, &gpu)?;
    Ok((gpu, plan))
}

/// What prunes have in common: all but output, pattern and method.
pub(super) fn options(
    common: &Common,
    model: &Path,
    spec: &Spec,
    method: &str,
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
        options.sums = Sums::Loaded(folder.clone());
    }
    let options = match method {
        name if BY_GRADIENTS.contains(&name) => PruneOptions {
            method: name.into(),
            refit: SurgeonOptions::default().refit,
            ..options
        },
        other => options.by(other)?,
    };
    Ok(PruneOptions {
        warm_start: solve.warm_start.into(),
        refit: solve.refit.unwrap_or(options.refit),
        damping: Damping {
            rule: solve.damping_rule.unwrap_or(options.damping.rule),
            fraction: solve.damping.unwrap_or(options.damping.fraction),
        },
        correction: solve.correction,
        only_layers: solve.layers.clone(),
        permute: solve.permute,
        allocation: solve.allocation,
        spread: solve.allocation_spread,
        propagate: match inputs.statistics {
            Some(_) => Propagate::Dense,
            None => solve.propagate.unwrap_or(options.propagate),
        },
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

/// The plan in words.
pub(super) fn describe(plan: &Plan) -> String {
    let (options, demand) = (&plan.options, &plan.demand);
    let what = match options.sums {
        Sums::Saved => "sums of inputs to be saved".to_string(),
        _ => format!(
            "{} of {} weights in {} linears by {}{}, refit {} steps",
            options.pattern,
            plan.weights,
            plan.linears,
            options.method,
            because(&options.chosen),
            options.refit
        ),
    };
    let propagation = match options.sums {
        Sums::Captured => format!(", {} propagation", options.propagate.name()),
        Sums::Saved | Sums::Loaded(_) => String::new(),
    };
    format!(
        "{} ({} family, {} decoder layers): {what}{propagation}\n{}\n\
         on {}: predicted peak {:.0} MiB of device buffers, {:.0} MiB of host memory; {:.0} MiB on disk in {}\n\
         about {:.3} TFLOP; {}",
        options.model.display(),
        plan.family,
        plan.layers,
        describe_inputs(plan),
        plan.adapter,
        mib(demand.device_bytes),
        mib(demand.host_bytes),
        mib(plan.output_bytes),
        options.output.display(),
        plan.flops / 1e12,
        demand.largest,
    )
}

/// Why a method, if `auto` chose it.
pub(super) fn because(chosen: &Option<String>) -> String {
    chosen.as_ref().map_or(String::new(), |why| format!(" (auto, {why})"))
}

fn describe_inputs(plan: &Plan) -> String {
    let (options, demand) = (&plan.options, &plan.demand);
    let tokens = format!(
        "{} x {} calibration tokens of {}, seed {}",
        options.samples.samples,
        options.samples.length,
        options.calibration.display(),
        options.samples.seed
    );
    if let Some(statistics) = &plan.statistics {
        return format!(
            "inputs from {}: those of the dense model on {tokens}; no forward pass, errors made earlier in a layer are \
             not corrected",
            statistics.dir().display()
        );
    }
    let kept = in_memory(demand.activation_ram);
    format!(
        "{tokens}; {:.0} MiB of {} activations per stream, {kept}; batches of {} rows",
        mib(demand.activation_bytes),
        demand.activations.name(),
        demand.batch_rows,
    )
}

/// Where activations are kept.
pub(super) fn in_memory(activation_ram: Option<u64>) -> String {
    match activation_ram {
        None => "in memory".to_string(),
        Some(ram) => format!("{:.0} MiB of them in memory, the rest in a file", mib(ram)),
    }
}

pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
