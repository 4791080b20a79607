//! argv, environment, exit codes, progress on the terminal. `Args` only validates, `run::Plan` only resolves, the
//! commands only work and print.

mod args;
mod bench;
mod bench_args;
mod calibrate;
mod compare;
mod compare_args;
mod demo;
mod doctor;
mod eval;
mod eval_args;
mod exit;
mod inspect;
mod layers;
mod method_args;
mod progress;
mod prune;
mod run_args;
mod settings;
mod structure;
mod structure_args;
mod surgeon;
mod surgeon_args;
mod words;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use clap::Parser;
use serde::Serialize;

use args::{Args, Command, Common};
use exit::CliError;
use words::with_flags;

use crate::checkpoint::Checkpoint;
use crate::gpu::{Gpu, GpuOptions};
use crate::model::{Family, Spec};

/// Parses the command line, runs the command, prints the result or one paragraph about the error.
pub fn main() -> ExitCode {
    let mut args = Args::parse();
    let stop = Arc::new(AtomicBool::new(false));
    let (flag, said) = (stop.clone(), Arc::new(Mutex::new(())));
    let saying = said.clone();
    let writes = matches!(
        args.command,
        Command::Prune(_) | Command::Calibrate(_) | Command::Compare(_) | Command::Demo(_)
    );
    // Only what writes has anything to put in order; a second Ctrl-C ends that at once, too.
    let handler = ctrlc::set_handler(move || {
        let _saying = saying.lock();
        if !writes || flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        note("\nstopping after the current linear; press Ctrl-C again to stop at once");
    });
    if let Err(error) = handler {
        note(&format!("note: Ctrl-C will not be handled gracefully: {error}"));
    }
    let common = &args.common;
    let result = match &mut args.command {
        Command::Prune(prune) => prune::run(common, prune, &stop),
        Command::Plan(prune) => prune::run_plan(common, prune),
        Command::Calibrate(calibrate) => calibrate::run(common, calibrate, &stop),
        Command::Inspect(inspect) => inspect::run(common, inspect),
        Command::Eval(eval) => eval::run(common, eval),
        Command::Compare(compare) => compare::run(common, compare, &stop),
        Command::Bench(args) => bench::run(common, args),
        Command::Doctor => doctor::run(common),
        Command::Demo(demo) => demo::run(common, demo, &stop),
    };
    // The handler says that it stops before an error says that it has.
    drop(said.lock());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("error: {error}"));
            error.exit_code()
        }
    }
}

/// Opens the device that was asked for and says which one it is.
fn open_gpu(common: &Common) -> Result<Gpu, CliError> {
    open_gpu_with(common, common.profile)
}

/// The same, with the device's clock on kernels whether --profile asks for it or not.
fn open_gpu_with(common: &Common, profile: bool) -> Result<Gpu, CliError> {
    let options = GpuOptions {
        adapter: common.adapter.clone(),
        max_binding: common.max_binding,
        verify: common.verify_kernels,
        profile,
        budget: common.max_vram,
        gentle: common.gentle,
        half_attention: common.half_attention,
        ..GpuOptions::default()
    };
    let gpu = Gpu::open(options)?;
    if gpu.is_host() && common.adapter == crate::gpu::AdapterChoice::Auto {
        say(
            common,
            "no hardware adapter found: running on the host; `secateur doctor` lists what there is",
        );
    } else {
        say(common, &format!("running on {}", gpu.name()));
    }
    Ok(gpu)
}

/// The checkpoint's sizes, seen by the family file that was given or the built-in one.
fn spec(common: &Common, checkpoint: &Checkpoint) -> Result<Spec, CliError> {
    Ok(match &common.family {
        Some(file) => Spec::with_family(checkpoint, Family::open(file)?)?,
        None => Spec::of(checkpoint)?,
    })
}

/// A line for people, on stderr so that stdout stays parseable.
fn say(common: &Common, line: &str) {
    if !common.quiet {
        note(line);
    }
}

/// A line on stderr, its settings as flags. That nobody reads it (`2>&1 | head`) is no reason to give up hours of work, as `eprintln!` would.
fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", with_flags(line));
}

/// The result, on stdout: JSON with `--json`, else text.
fn print<T: Serialize>(common: &Common, value: &T, text: impl FnOnce() -> String) -> Result<(), CliError> {
    put_out(&if common.json {
        serde_json::to_string_pretty(value).expect("results are plain data")
    } else {
        with_flags(&text())
    })
}

/// Lines on stdout. A closed pipe is not an error; what cannot be written otherwise, say on a full disk, goes to stderr.
fn put_out(body: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout();
    match writeln!(stdout, "{body}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            note(body);
            Err(CliError::Output(error))
        }
        _ => Ok(()),
    }
}

/// With `--profile`: time per kernel on stderr.
fn print_profile(common: &Common, gpu: &Gpu) {
    if !common.profile {
        return;
    }
    note(&format!("{:<28} {:>9} {:>10}", "kernel", "calls", "seconds"));
    for row in gpu.timings() {
        note(&format!("{:<28} {:>9} {:>10.3}", row.kernel, row.calls, row.seconds));
    }
}
