//! `secateur prune --method surgeon --structure ...`.

use std::sync::atomic::AtomicBool;

use super::args::{Common, PruneArgs};
use super::exit::CliError;
use super::progress::carry_out;
use super::surgeon::{OUTPUT_DAMPING, corrected, describe_inputs, options as surgeon_options, prune_options};
use super::words::because;
use super::{open_gpu, print};
use crate::checkpoint::Checkpoint;
use crate::gpu::Gpu;
use crate::model::Spec;
use crate::prune::{DampingRule, Score};
use crate::run::{StructurePlan, SurgeonOptions};

/// Damping of the curvature of inputs, of each one's own energy. Published runs take 0.01 of the mean and sixteen times the tokens. With
/// 8 x 1024 a fifth of SmolLM2-135M's decoder costs a perplexity of 45.7 by 0.1, 48.2 by 0.03; of the mean 49.3 by 0.01,
/// 46.6 by 0.1, 46.9 by 0.3.
const INPUT_DAMPING: f64 = 0.1;

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
        crate::run::structure(&plan, checkpoint, &gpu, bar, stop)
    })
}

/// Says what would happen.
pub(super) fn plan(common: &Common, args: &PruneArgs, checkpoint: &Checkpoint, spec: Spec) -> Result<(), CliError> {
    let (_, plan) = resolve(common, args, checkpoint, spec)?;
    print(common, &plan, || describe(&plan))?;
    Ok(())
}

fn resolve(
    common: &Common,
    args: &PruneArgs,
    checkpoint: &Checkpoint,
    spec: Spec,
) -> Result<(Gpu, StructurePlan), CliError> {
    let structure = args.structure.options()?;
    let by_gradients = structure.score == Score::Surgeon;
    refuse_flags(args, by_gradients)?;
    let defaults = surgeon_options(&args.surgeon);
    let surgeon = SurgeonOptions {
        shots: args.surgeon.shots.unwrap_or(if by_gradients {
            SurgeonOptions::default().shots
        } else {
            1
        }),
        output_damping: args.surgeon.output_damping.unwrap_or(OUTPUT_DAMPING),
        ..defaults
    };
    let mut options = prune_options(common, args, &spec)?;
    if by_gradients {
        options.damping.fraction = args.solve.damping.unwrap_or(INPUT_DAMPING);
    } else {
        // As published.
        options.damping.rule = args.solve.damping_rule.unwrap_or(DampingRule::Mean);
    }
    let gpu = open_gpu(common)?;
    let plan = StructurePlan::resolve(options, (surgeon, structure), checkpoint, spec, &gpu)?;
    Ok((gpu, plan))
}

/// Fails on flags that whole units have no use for.
fn refuse_flags(args: &PruneArgs, by_gradients: bool) -> Result<(), CliError> {
    let surgeon = &args.surgeon;
    let pattern = "is for single weights, and --structure removes whole units: give --sparsity instead";
    CliError::refuse(&[("--pattern", args.pattern.is_some())], pattern)?;
    let weights = [
        ("--refit", args.solve.refit.is_some()),
        ("--max-correlate", surgeon.max_correlate.is_some()),
    ];
    CliError::refuse(
        &weights,
        "is for single weights: --structure has no use for it, drop it",
    )?;
    let lines = [
        ("--half-steps", surgeon.half_steps.is_some()),
        ("--factors", surgeon.factors.is_some()),
    ];
    CliError::refuse(&lines, "is for single weights, rows and columns: drop it")?;
    if by_gradients {
        return Ok(());
    }
    let gradients = [
        ("--output-damping", surgeon.output_damping.is_some()),
        ("--fisher", surgeon.fisher.is_some()),
    ];
    CliError::refuse(
        &gradients,
        "is for --score surgeon, the only one with gradients: drop it",
    )
}

fn describe(plan: &StructurePlan) -> String {
    let (base, target) = (&plan.base, &plan.target.units);
    let promises = plan.promises.iter().map(|p| {
        format!(
            "\n  {} layers of {} neurons, {} heads, {} key/value heads: {} parameters, {:.2} % of the decoder's weights removed",
            p.layers,
            p.ffn,
            p.heads,
            p.kv_heads,
            p.parameters,
            100.0 * p.removed
        )
    });
    let promised = match plan.promises.len() {
        0 => "\nat most so much goes, in widths that depend on the costs".to_string(),
        1 => "\nthe result:".to_string(),
        _ => "\nthe result is that of these with the least cost:".to_string(),
    };
    format!(
        "{} ({} family, {} decoder layers of {} neurons and {} key/value heads, {} parameters): {} to remove {} of {} weights \
         by {}{} in {} shots{}, {} layout{}{promised}{}{}\n{}",
        base.options.model.display(),
        base.family,
        base.spec.layers,
        base.spec.ffn,
        base.spec.kv_heads,
        plan.parameters,
        plan.structure.name(),
        target.weights,
        base.weights,
        plan.structure.score.name(),
        because(&base.chosen),
        base.surgeon.shots,
        corrected(base),
        plan.structure.layout.name(),
        if plan.structure.ffn {
            format!(", neurons in multiples of {}", target.round)
        } else {
            String::new()
        },
        promises.collect::<String>(),
        plan.notes
            .iter()
            .map(|note| format!("\nnote: {note}"))
            .collect::<String>(),
        describe_inputs(base),
    )
}
