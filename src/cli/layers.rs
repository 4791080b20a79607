//! `secateur prune` by methods that go from layer to layer.

use std::sync::atomic::AtomicBool;

use super::args::{Common, PruneArgs};
use super::exit::CliError;
use super::progress::carry_out;
use super::settings::{options, pattern};
use super::words::{because, in_memory, mib};
use super::{open_gpu, print};
use crate::checkpoint::Checkpoint;
use crate::gpu::Gpu;
use crate::model::Spec;
use crate::run::{Plan, PruneOptions, StatisticsSource, gemm_rate};

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
        crate::run::prune(&plan, checkpoint, &gpu, bar, stop)
    })
}

/// Says what would happen.
pub(super) fn plan(common: &Common, args: &PruneArgs, checkpoint: &Checkpoint, spec: Spec) -> Result<(), CliError> {
    let (gpu, plan) = resolve(common, args, checkpoint, spec)?;
    let seconds = plan.flops / gemm_rate(&gpu, plan.spec.hidden)?;
    let timed = Timed { plan: &plan, seconds };
    print(common, &timed, || format!("{}\n{}", describe(&plan), duration(seconds)))?;
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
            args.row(),
            (&args.inputs, &args.solve, &args.memory),
        )?
    };
    let gpu = open_gpu(common)?;
    let plan = Plan::resolve(options, checkpoint, spec, &gpu)?;
    Ok((gpu, plan))
}

/// The plan in words.
pub(super) fn describe(plan: &Plan) -> String {
    let (options, demand) = (&plan.options, &plan.demand);
    let what = match options.sums {
        StatisticsSource::Saved => "sums of inputs to be saved".to_string(),
        _ => format!(
            "{} of {} weights in {} linears by {}{}, refit {} steps",
            options.pattern,
            plan.weights,
            plan.linears,
            options.method.name,
            because(&options.chosen),
            options.refit
        ),
    };
    let propagation = match options.sums {
        StatisticsSource::Captured => format!(
            ", {} propagation, inputs by {}",
            options.propagate.name(),
            options.within.name()
        ),
        StatisticsSource::Saved | StatisticsSource::Loaded(_) => String::new(),
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
