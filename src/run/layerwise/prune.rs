//! A prune from its beginning, or from where an earlier one stopped, to a verified checkpoint.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::allocate::{Pass, allocation, warn_of_spread};
use super::begin::{Begun, layers_kept};
use super::permute::{mark_followers, warn_of_order};
use super::plan::Plan;
use super::source::HiddenStates;
use super::walk::{Sink, Walk};
use crate::checkpoint::{Checkpoint, CheckpointWriter, Reshaping};
use crate::gpu::Gpu;
use crate::prune::Allocation;
use crate::report::PruneReport;
use crate::run::RunError;
use crate::run::folder::RunFolder;
use crate::run::folder::allocation::{keep_allocation, kept_allocation};
use crate::run::predict::resident::peak_resident;
use crate::run::progress::Progress;
use crate::run::report::{total, verify, warn_of_damping, warn_of_experts};
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
    let Begun {
        mut folder,
        decoder,
        mut report,
        ids,
        earlier,
    } = Begun::at(plan, checkpoint, gpu, progress, None)?;
    let kept = |folder: &RunFolder| layers_kept(folder.done(), plan.layers);
    let (mut writer, entering, allocated) = match earlier {
        Some((_, entering)) => {
            let allocated = match plan.options.allocates() {
                Allocation::Uniform => None,
                _ => Some(kept_allocation(output)?),
            };
            (resume_output(plan, checkpoint, &report)?, entering, allocated)
        }
        None => {
            let writer = CheckpointWriter::within(checkpoint, output, Reshaping::default(), false)?;
            let clock = Instant::now();
            let pass = Pass {
                ids: ids.as_ref(),
                calibration: &report.calibration,
                progress: &mut *progress,
                stop,
            };
            let found = allocation(plan, &decoder, pass);
            let allocated = found.map_err(|error| folder.suspended(error, kept(&folder)))?;
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
            (writer, ids.as_ref().map(embed).transpose()?, allocated)
        }
    };
    drop(ids);
    report.phases.prepare += start.elapsed().as_secs_f64();
    let (done, first) = (report.linears.len(), folder.done());
    let mut walk = Walk {
        plan,
        decoder: &decoder,
        entering,
        sink: Sink::Checkpoint(&mut writer, &mut folder),
        allocated,
        report,
        progress,
        stop,
        done,
    };
    let result = (first..plan.layers).try_for_each(|layer| walk.layer(layer));
    let mut report = walk.report;
    report.memory.device_peak = gpu.peak_bytes();
    let result = result.and_then(|()| {
        progress.stage("write and verify");
        gpu.begin_phase();
        finish(plan, writer, report)
    });
    let report = result.map_err(|error| folder.suspended(error, kept(&folder)))?;
    folder.finish()?;
    Ok(report)
}

fn resume_output<'a>(
    plan: &Plan,
    checkpoint: &'a Checkpoint,
    report: &PruneReport,
) -> Result<CheckpointWriter<'a>, RunError> {
    let mut writer = CheckpointWriter::resume(checkpoint, &plan.options.output)?;
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
    report.memory.host_peak = peak_resident();
    report.phases.write += clock.elapsed().as_secs_f64();
    Ok(report)
}
