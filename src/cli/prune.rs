//! `secateur prune` and `secateur plan`: the method, and who carries it out.

use std::sync::atomic::AtomicBool;

use super::args::{Common, PruneArgs};
use super::exit::CliError;
use super::progress::Bar;
use super::settings::pattern;
use super::{layers, open_gpu, print, spec, structure, surgeon};
use crate::checkpoint::Checkpoint;
use crate::model::Spec;
use crate::prune::{Allocation, Evidence, Pattern, Permute, Removes};
use crate::report::prune_table;
use crate::run::{AUTO, Asked, WeightsOnly, choose, method_named, prune_weights};

pub(super) fn run(common: &Common, args: &mut PruneArgs, stop: &AtomicBool) -> Result<(), CliError> {
    settle(args)?;
    if args.dry_run {
        return plan(common, args);
    }
    let pattern = pattern(args)?;
    let checkpoint = Checkpoint::open(&args.model)?;
    match spec(common, &checkpoint) {
        Ok(spec) => with_spec(common, args, &checkpoint, spec, stop),
        Err(error) => match error
            .unknown_architecture()
            .filter(|_| args.row().evidence == Evidence::Weights)
        {
            Some(reason) => {
                route(args)?;
                refuse_without_family(args, &reason)?;
                weights_only(common, args, &checkpoint, WeightsOnlyArgs { pattern, reason, stop })
            }
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
        args.method = regime.method.name.to_string();
        args.chosen = Some(format!("{}: {}", regime.name, regime.reason));
    }
    args.solve.of_methods.refuse(&[method_named(&args.method)?])
}

/// Who prunes.
enum Route {
    /// Layer after layer.
    Layers,
    /// All weights by gradients.
    Gradients,
    /// Whole units.
    Units,
}

/// Who prunes by this method; fails on flags that it has no use for.
fn route(args: &PruneArgs) -> Result<Route, CliError> {
    args.structure.check()?;
    let method = args.row();
    if method.removes.contains(&Removes::Units) && args.structure.shrinks() {
        return Ok(Route::Units);
    }
    if method.is_global() {
        return Ok(Route::Gradients);
    }
    surgeon::refuse_flags(args, method.name)?;
    Ok(Route::Layers)
}

fn with_spec(
    common: &Common,
    args: &PruneArgs,
    checkpoint: &Checkpoint,
    spec: Spec,
    stop: &AtomicBool,
) -> Result<(), CliError> {
    let run = match route(args)? {
        Route::Layers => layers::run,
        Route::Gradients => surgeon::run,
        Route::Units => structure::run,
    };
    run(common, args, checkpoint, spec, stop)
}

/// What a prune would do.
fn plan(common: &Common, args: &PruneArgs) -> Result<(), CliError> {
    // Settings are checked before anything is opened, the checkpoint before a device is.
    pattern(args)?;
    let checkpoint = Checkpoint::open(&args.model)?;
    let spec = spec(common, &checkpoint)?;
    let plan = match route(args)? {
        Route::Layers => layers::plan,
        Route::Gradients => surgeon::plan,
        Route::Units => structure::plan,
    };
    plan(common, args, &checkpoint, spec)
}

/// Fails on a flag that needs to know what the matrices are.
fn refuse_without_family(args: &PruneArgs, reason: &str) -> Result<(), CliError> {
    let solve = &args.solve;
    let flags = [
        ("--layers", !solve.layers.is_empty()),
        ("--limit-layers", args.memory.limit_layers.is_some()),
        ("--refit", solve.refit.is_some_and(|steps| steps > 0)),
        (
            "--allocation",
            !matches!(solve.allocation, Allocation::Auto | Allocation::Uniform),
        ),
        ("--allocation-spread", solve.allocation_spread.is_some()),
        ("--permute on", solve.permute == Permute::On),
        ("--propagate", solve.propagate.is_some()),
        ("--within", solve.within.is_some()),
        ("--layer-errors", solve.layer_errors),
        ("--correction", solve.correction.is_some()),
        ("--statistics", args.inputs.statistics.is_some()),
    ];
    let why = format!(
        "needs a description of the model ({reason}, which no family file describes): drop it, or give a --family file \
         (models/README.md)"
    );
    CliError::refuse(&flags, &why)?;
    CliError::refuse(
        &[("--resume", args.resume)],
        "is for longer runs: delete what this one left, and drop it",
    )
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
    print(common, &report, || prune_table(&report))?;
    Ok(())
}
