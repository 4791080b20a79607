//! `secateur prune`.

use std::sync::atomic::AtomicBool;

use super::args::{Common, PruneArgs};
use super::exit::CliError;
use super::progress::Bar;
use super::{open_gpu, print, print_profile, say};
use crate::calib::SampleSpec;
use crate::checkpoint::Checkpoint;
use crate::model::Spec;
use crate::prune::Pattern;
use crate::report::prune_table;
use crate::run::{Plan, PruneOptions};

/// Tokens per sample or window unless the model was made for less.
pub(super) const DEFAULT_LENGTH: usize = 2048;

pub(super) fn run(common: &Common, args: &PruneArgs, stop: &AtomicBool) -> Result<(), CliError> {
    // Settings are checked before anything is opened, the checkpoint before a device is.
    let pattern = match (args.sparsity, &args.pattern) {
        (Some(sparsity), _) => Pattern::unstructured(sparsity, args.scope.into())?,
        (None, Some(pattern)) => pattern.parse()?,
        (None, None) => unreachable!("clap requires one of the two"),
    };
    let checkpoint = Checkpoint::open(&args.model)?;
    let longest = Spec::of(&checkpoint)?.max_positions;
    let options = PruneOptions {
        model: args.model.clone(),
        output: args.output.clone(),
        calibration: args.calibration.clone(),
        samples: SampleSpec {
            samples: args.samples,
            length: length(args.length, longest, "--length")?,
            seed: args.seed,
        },
        pattern,
        method: args.method.clone(),
        refit: args.refit,
        damping: args.damping,
        propagate: args.propagate,
        limit_layers: args.limit_layers,
    };
    let gpu = open_gpu(common)?;
    let plan = Plan::resolve(options, &checkpoint, &gpu)?;
    let lines = describe(&plan);
    if args.dry_run {
        print(common, &plan, || lines);
        return Ok(());
    }
    say(common, &lines);
    let mut bar = Bar::new(common);
    let result = crate::run::prune(&plan, &checkpoint, &gpu, &mut bar, stop);
    bar.finish();
    let report = result?;
    print(common, &report, || prune_table(&report));
    print_profile(common, &gpu);
    Ok(())
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

fn describe(plan: &Plan) -> String {
    let options = &plan.options;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    format!(
        "{} ({} family, pruning {} decoder layers): {} of {} weights by {}, refit {} steps, {} propagation\n\
         {} x {} calibration tokens of {}, seed {}\n\
         on {}: predicted peak {:.0} MiB of device buffers, {:.0} MiB of host memory; output {:.0} MiB in {}",
        options.model.display(),
        plan.family,
        plan.layers,
        options.pattern,
        plan.weights,
        options.method,
        options.refit,
        options.propagate.name(),
        options.samples.samples,
        options.samples.length,
        options.calibration.display(),
        options.samples.seed,
        plan.adapter,
        mib(plan.device_bytes),
        mib(plan.host_bytes),
        mib(plan.output_bytes),
        options.output.display(),
    )
}
