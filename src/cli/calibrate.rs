//! `secateur calibrate`.

use std::sync::atomic::AtomicBool;

use super::args::{CalibrateArgs, Common};
use super::exit::CliError;
use super::layers::describe;
use super::progress::Bar;
use super::settings::walk_options;
use super::{open_gpu, print, print_profile, say, spec};
use crate::checkpoint::Checkpoint;
use crate::report::calibrate_lines;
use crate::run::{Plan, PruneOptions};

pub(super) fn run(common: &Common, args: &CalibrateArgs, stop: &AtomicBool) -> Result<(), CliError> {
    let checkpoint = Checkpoint::open(&args.model)?;
    let spec = spec(common, &checkpoint)?;
    let options = PruneOptions {
        output: args.output.clone(),
        resume: args.resume,
        ..walk_options(common, &args.model, &spec, (&args.samples, &args.memory), false)?
    };
    let gpu = open_gpu(common)?;
    let plan = Plan::resolve(options.to_save(), &checkpoint, spec, &gpu)?;
    say(common, &describe(&plan));
    let mut bar = Bar::new(common);
    let result = crate::run::calibrate(&plan, &checkpoint, &gpu, &mut bar, stop);
    bar.finish();
    let report = result?;
    print(common, &report, || calibrate_lines(&report))?;
    print_profile(common, &gpu);
    Ok(())
}
