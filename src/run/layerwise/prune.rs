//! A prune from its beginning, or from where an earlier one stopped, to a verified checkpoint.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::allocate::{Pass, allocation, warn_of_spread};
use super::permute::{mark_followers, warn_of_order};
use super::plan::Plan;
use super::report::{begin_report, calibration};
use super::source::HiddenStates;
use super::walk::{Sink, Walk};
use crate::checkpoint::{Checkpoint, CheckpointWriter, OutputLock};
use crate::gpu::Gpu;
use crate::model::Decoder;
use crate::prune::Allocation;
use crate::report::PruneReport;
use crate::run::RunError;
use crate::run::folder::allocation::{keep_allocation, kept_allocation};
use crate::run::folder::{RunIdentity, RunState};
use crate::run::predict::resident::peak_resident;
use crate::run::progress::Progress;
use crate::run::report::{continued, total, verify, warn_of_damping, warn_of_experts};
use crate::run::samples::TokenIds;

/// Prunes the plan's checkpoint and writes the result; `stop` is asked between linears.
///
/// Whatever stops it after the first decoder layer leaves the finished layers in the output, to be resumed.
pub fn prune(
    plan: &Plan,
    checkpoint: &Checkpoint,
    gpu: &Gpu,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<PruneReport, RunError> {
    let start = Instant::now();
    let output = &plan.options.output;
    gpu.limit_stock(plan.demand.stock);
    // A bad output is refused before hours of work.
    let begun = Begun::at(plan, checkpoint)?;
    let (calibration, ids) = calibration(plan, checkpoint, progress)?;
    let identity = RunIdentity {
        model: checkpoint.fingerprint(),
        tokens: calibration.token_hash.clone(),
        settings: plan.settings.clone(),
    };
    let decoder = Decoder::new(gpu, checkpoint, &plan.spec, plan.options.samples.length)?;
    let mut report = begin_report(plan, checkpoint, gpu, calibration);
    let options = plan.activation_options();
    let (mut writer, entering, first, allocated) = match begun {
        Begun::Earlier(state, lock) => {
            state.check(&identity, output)?;
            report = continued(&state, report)?;
            progress.stage(&format!(
                "resumed after {} of {} decoder layers",
                state.layers_done, plan.layers
            ));
            let allocated = match plan.options.allocates() {
                Allocation::Uniform => None,
                _ => Some(kept_allocation(output)?),
            };
            let entering = HiddenStates::of(state.load_activations(output, &options)?);
            let writer = resume_output(plan, checkpoint, lock, &report)?;
            (writer, entering, state.layers_done, allocated)
        }
        Begun::New(writer) => {
            let clock = Instant::now();
            let pass = Pass {
                ids: ids.as_ref(),
                calibration: &report.calibration,
                progress: &mut *progress,
                stop,
            };
            let allocated =
                allocation(plan, &decoder, pass).map_err(|error| error.suspended(output, 0, plan.layers))?;
            gpu.begin_phase();
            if let Some(found) = &allocated {
                keep_allocation(output, found)?;
                report.allocated = Some(found.shares.clone());
                progress.stage("prune");
            }
            let seconds = clock.elapsed().as_secs_f64();
            report.phases.allocate += seconds;
            report.phases.prepare -= seconds;
            let embed = |ids: &TokenIds| HiddenStates::embedded(plan, &decoder, ids);
            (*writer, ids.as_ref().map(embed).transpose()?, 0, allocated)
        }
    };
    drop(ids);
    report.phases.prepare += start.elapsed().as_secs_f64();
    let done = report.linears.len();
    let mut walk = Walk {
        plan,
        decoder: &decoder,
        entering,
        sink: Sink::Checkpoint(&mut writer),
        allocated,
        report,
        progress,
        stop,
        identity,
        done,
        layers_done: first,
    };
    let result = (first..plan.layers).try_for_each(|layer| walk.layer(layer));
    let (layers_done, mut report) = (walk.layers_done, walk.report);
    report.memory.device_peak = gpu.peak_bytes();
    let result = result.and_then(|()| {
        progress.stage("write and verify");
        gpu.begin_phase();
        finish(plan, writer, report)
    });
    result.map_err(|error| error.suspended(output, layers_done, plan.layers))
}

/// How a run begins.
enum Begun<'a> {
    New(Box<CheckpointWriter<'a>>),
    /// Some layers are done.
    Earlier(Box<RunState>, OutputLock),
}

impl<'a> Begun<'a> {
    /// A new output; with `--resume` what an earlier run left there. Changes nothing of a run that can be resumed.
    fn at(plan: &Plan, checkpoint: &'a Checkpoint) -> Result<Self, RunError> {
        let output = &plan.options.output;
        let lock = if plan.options.resume {
            OutputLock::of_unfinished(output)?
        } else {
            None
        };
        let Some(lock) = lock else {
            if plan.options.resume {
                CheckpointWriter::refuse_complete(checkpoint, output)?;
            }
            return Ok(Begun::New(Box::new(CheckpointWriter::create(checkpoint, output)?)));
        };
        Ok(match RunState::load(output)? {
            Some(state) => Begun::Earlier(Box::new(state), lock),
            None => Begun::New(Box::new(CheckpointWriter::restart(checkpoint, output, lock)?)),
        })
    }
}

fn resume_output<'a>(
    plan: &Plan,
    checkpoint: &'a Checkpoint,
    lock: OutputLock,
    report: &PruneReport,
) -> Result<CheckpointWriter<'a>, RunError> {
    let mut writer = CheckpointWriter::resume(checkpoint, &plan.options.output, lock)?;
    for linear in &report.linears {
        writer.mark_written(&linear.tensor)?;
    }
    mark_followers(&mut writer, &plan.spec, &report.linears)?;
    Ok(writer)
}

/// Writes what remains, opens the result again and counts its zeros. Until then the run can be resumed.
fn finish(plan: &Plan, mut writer: CheckpointWriter<'_>, mut report: PruneReport) -> Result<PruneReport, RunError> {
    let clock = Instant::now();
    report.totals = total(&report.linears);
    report.warnings = warn_of_experts(&report.linears);
    report.warnings.extend(warn_of_damping(&report.linears));
    report.warnings.extend(warn_of_order(&plan.options, &plan.spec));
    report.warnings.extend(warn_of_spread(&plan.options));
    let json = serde_json::to_string_pretty(&report.reproducible()).expect("a report is plain data");
    writer.place(&[("pruning_report.json", json.as_bytes())])?;
    verify(&plan.options.output, &report)?;
    writer.close()?;
    report.memory.host_peak = peak_resident();
    report.phases.write += clock.elapsed().as_secs_f64();
    Ok(report)
}
