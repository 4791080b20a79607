//! `secateur prune --method surgeon` and `kfac-fista`.

use std::sync::atomic::AtomicBool;

use super::args::{Common, PruneArgs};
use super::exit::CliError;
use super::progress::carry_out;
use super::settings::{pattern, walk_options};
use super::surgeon_args::SurgeonArgs;
use super::words::{because, in_memory, mib};
use super::{open_gpu, print};
use crate::checkpoint::Checkpoint;
use crate::gpu::Gpu;
use crate::model::Spec;
use crate::prune::{Allocation, Damping, Permute, Removes, SURGEON, Scope};
use crate::run::{LowRankOptions, PruneOptions, SurgeonOptions, SurgeonPlan};

/// Damping of the curvature of outputs, as published for structures.
pub(super) const OUTPUT_DAMPING: f64 = 0.01;

/// Prunes.
pub(super) fn run(
    common: &Common,
    args: &PruneArgs,
    checkpoint: &Checkpoint,
    spec: Spec,
    stop: &AtomicBool,
) -> Result<(), CliError> {
    let (gpu, plan) = resolve(common, args, checkpoint, spec)?;
    carry_out(common, &gpu, &describe(&plan), |bar| {
        crate::run::surgeon(&plan, checkpoint, &gpu, bar, stop)
    })
}

/// Says what would happen.
pub(super) fn plan(common: &Common, args: &PruneArgs, checkpoint: &Checkpoint, spec: Spec) -> Result<(), CliError> {
    let (_, plan) = resolve(common, args, checkpoint, spec)?;
    print(common, &plan, || describe(&plan))?;
    Ok(())
}

/// What the flags say, with defaults for the rest.
pub(super) fn options(args: &SurgeonArgs) -> SurgeonOptions {
    let defaults = SurgeonOptions::default();
    SurgeonOptions {
        shots: args.shots.unwrap_or(defaults.shots),
        same_samples: args.same_samples,
        output_damping: args.output_damping.unwrap_or(defaults.output_damping),
        max_correlate: args.max_correlate.unwrap_or(defaults.max_correlate),
        fisher: args.fisher.unwrap_or(defaults.fisher),
        half_steps: args.half_steps.unwrap_or(defaults.half_steps),
        factors: args.factors.unwrap_or(defaults.factors),
        low_rank: LowRankOptions {
            rank: args.lora_rank.unwrap_or(defaults.low_rank.rank),
            steps: args.lora_steps.unwrap_or(defaults.low_rank.steps),
            rate: args.lora_rate.unwrap_or(defaults.low_rank.rate),
        },
        ..defaults
    }
}

/// Fails if a flag of this method is given with another.
pub(super) fn refuse_flags(args: &PruneArgs, method: &str) -> Result<(), CliError> {
    let flags = [
        ("--shots", args.surgeon.shots.is_some()),
        ("--same-samples", args.surgeon.same_samples),
        ("--output-damping", args.surgeon.output_damping.is_some()),
        ("--max-correlate", args.surgeon.max_correlate.is_some()),
        ("--fisher", args.surgeon.fisher.is_some()),
        ("--half-steps", args.surgeon.half_steps.is_some()),
        ("--factors", args.surgeon.factors.is_some()),
        ("--lora-steps", args.surgeon.lora_steps.is_some()),
        ("--structure", args.structure.any()),
    ];
    CliError::refuse(&flags, &only_surgeon(method))
}

fn only_surgeon(method: &str) -> String {
    format!(
        "is for --method {}; --method {method} has no use for it: drop it",
        SURGEON.name
    )
}

/// Whole units, rows and columns are removed by LLM Surgeon itself, and nothing is left to refit.
fn refuse_single_weights(args: &PruneArgs) -> Result<(), CliError> {
    if !args.structure.any() {
        return Ok(());
    }
    if !args.row().removes.contains(&Removes::Lines) {
        return CliError::refuse(&[("--structure", true)], &only_surgeon(&args.method));
    }
    let flags = [
        ("--pattern", args.pattern.is_some()),
        ("--refit", args.solve.refit.is_some()),
        ("--max-correlate", args.surgeon.max_correlate.is_some()),
    ];
    let lines = args.structure.lines().name();
    CliError::refuse(
        &flags,
        &format!("is for single weights: --structure {lines} has no use for it, drop it"),
    )
}

/// Fails if a flag is given that only the other methods have.
pub(super) fn refuse_others(args: &PruneArgs, method: &str) -> Result<(), CliError> {
    let solve = &args.solve;
    let flags = [
        ("--propagate", solve.propagate.is_some()),
        ("--within", solve.within.is_some()),
        ("--layer-errors", solve.layer_errors),
        ("--correction", solve.correction.is_some()),
        ("--layers", !solve.layers.is_empty()),
        ("--scope row", solve.scope.map(Scope::from) == Some(Scope::Row)),
        ("--permute on", solve.permute == Permute::On),
        ("--allocation", !matches!(solve.allocation, Allocation::Auto)),
        ("--allocation-spread", solve.allocation_spread.is_some()),
        ("--statistics", args.inputs.statistics.is_some()),
        ("--limit-layers", args.memory.limit_layers.is_some()),
        ("--activations", args.memory.activations.is_some()),
    ];
    let why = format!("is for other methods: --method {method} has no use for it, drop it");
    CliError::refuse(&flags, &why)
}

fn resolve(
    common: &Common,
    args: &PruneArgs,
    checkpoint: &Checkpoint,
    spec: Spec,
) -> Result<(Gpu, SurgeonPlan), CliError> {
    refuse_single_weights(args)?;
    let defaults = options(&args.surgeon);
    let lines = args.structure.lines();
    let surgeon = SurgeonOptions {
        lines,
        output_damping: match args.surgeon.output_damping {
            None if lines.any() => OUTPUT_DAMPING,
            _ => defaults.output_damping,
        },
        refit: args.solve.refit.unwrap_or(defaults.refit),
        ..defaults
    };
    let options = prune_options(common, args, &spec)?;
    let gpu = open_gpu(common)?;
    let plan = SurgeonPlan::resolve(options, surgeon, checkpoint, spec, &gpu)?;
    Ok((gpu, plan))
}

/// The options of a run; fails if a flag is given that only the other methods have.
pub(super) fn prune_options(common: &Common, args: &PruneArgs, spec: &Spec) -> Result<PruneOptions, CliError> {
    refuse_others(args, &args.method)?;
    let base = walk_options(common, &args.model, spec, (&args.inputs.samples, &args.memory), false)?;
    Ok(PruneOptions {
        output: args.output.clone(),
        pattern: pattern(args)?,
        method: args.row(),
        method_options: args.solve.of_methods.of(args.row())?,
        chosen: args.chosen.clone(),
        refit: 0,
        damping: Damping {
            rule: args.solve.damping_rule.unwrap_or(base.damping.rule),
            fraction: args.solve.damping.unwrap_or(base.damping.fraction),
        },
        resume: args.resume,
        ..base
    })
}

/// What a search does and takes.
fn searched(plan: &SurgeonPlan) -> String {
    let (refit, search) = (plan.surgeon.refit, plan.surgeon.search);
    format!(
        "K-FAC-weighted FISTA ({} rounds of {} steps and a refit: {} products with both factors a linear and shot, LLM Surgeon alone {refit})",
        search.rounds,
        search.steps,
        plan.products()
    )
}

/// What follows each shot.
pub(super) fn corrected(plan: &SurgeonPlan) -> String {
    let LowRankOptions { rank, steps, rate } = plan.surgeon.low_rank;
    match steps {
        0 => String::new(),
        _ => format!(", each followed by {steps} steps of a rank-{rank} correction at rate {rate}"),
    }
}

fn describe(plan: &SurgeonPlan) -> String {
    format!(
        "{} ({} family, {} decoder layers): {}{} of {} weights in {} linears by {}{} in {} shots{}\n{}",
        plan.options.model.display(),
        plan.family,
        plan.spec.layers,
        match plan.surgeon.lines.name().as_str() {
            "" => String::new(),
            lines => format!("{lines}, "),
        },
        plan.options.pattern,
        plan.weights,
        plan.linears,
        if plan.searches() {
            searched(plan)
        } else {
            "LLM Surgeon".into()
        },
        because(&plan.chosen),
        plan.surgeon.shots,
        corrected(plan),
        describe_inputs(plan),
    )
}

/// Tokens, memory and disk.
pub(super) fn describe_inputs(plan: &SurgeonPlan) -> String {
    let options = &plan.options;
    let kept = in_memory(plan.activation_ram);
    format!(
        "{} x {} calibration tokens of {}, seed {}; {:.0} MiB of activations of all layers, {kept}\n\
         on {}: predicted peak {:.0} MiB of device buffers, {:.0} MiB of host memory; {:.0} MiB on disk in {} while it runs{}",
        options.samples.samples,
        options.samples.length,
        options.calibration.display(),
        options.samples.seed,
        mib(plan.activation_bytes),
        plan.adapter,
        mib(plan.device_bytes),
        mib(plan.host_bytes),
        mib(plan.disk_bytes),
        options.output.display(),
        match plan.factors_on_disk {
            true => "",
            false => ", which has the factors gathered twice",
        }
    )
}
