//! `secateur prune --method surgeon --structure ...`.

use std::sync::atomic::AtomicBool;

use super::args::{Common, PruneArgs};
use super::exit::CliError;
use super::prune::{because, carry_out};
use super::surgeon::{corrected, describe_inputs, options as surgeon_options, prune_options};
use super::{open_gpu, print};
use crate::checkpoint::Checkpoint;
use crate::gpu::Gpu;
use crate::model::Spec;
use crate::run::{Score, StructurePlan, SurgeonOptions};

/// Damping of the curvature of outputs, as published for structures.
pub(super) const OUTPUT_DAMPING: f64 = 0.01;
/// That of inputs; published runs take 0.01 and sixteen times the tokens. With 8 x 1024 a fifth of SmolLM2-135M's decoder
/// costs a perplexity of 49.3 by 0.01, 46.6 by 0.1, 46.9 by 0.3.
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
    print(common, &plan, || describe(&plan));
    Ok(())
}

fn resolve(
    common: &Common,
    args: &PruneArgs,
    checkpoint: &Checkpoint,
    spec: Spec,
) -> Result<(Gpu, StructurePlan), CliError> {
    let structure = args.structure.options()?;
    let wrong = |message: &str| Err(CliError::setting(message.into()));
    if args.pattern.is_some() {
        return wrong(
            "--structure removes whole units and --pattern single weights: give --sparsity instead of --pattern",
        );
    }
    if args.solve.refit.is_some() {
        return wrong("--refit is for single weights: --structure has no use for it, drop it");
    }
    if args.surgeon.max_correlate.is_some() {
        return wrong("--max-correlate is for single weights: --structure has no use for it, drop it");
    }
    if args.surgeon.half_steps.is_some() {
        return wrong("--half-steps is for single weights, rows and columns: drop it");
    }
    if args.surgeon.factors.is_some() {
        return wrong("--factors is for single weights, rows and columns: drop it");
    }
    let by_gradients = structure.score == Score::Surgeon;
    if args.surgeon.output_damping.is_some() && !by_gradients {
        return wrong("--output-damping is for --score surgeon, the only one with gradients: drop it");
    }
    if args.surgeon.fisher.is_some() && !by_gradients {
        return wrong("--fisher is for --score surgeon, the only one with gradients: drop it");
    }
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
    if by_gradients && args.solve.damping.is_none() {
        options.damping.fraction = INPUT_DAMPING;
    }
    let gpu = open_gpu(common)?;
    let plan = StructurePlan::resolve(options, (surgeon, structure), checkpoint, spec, &gpu)?;
    Ok((gpu, plan))
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
