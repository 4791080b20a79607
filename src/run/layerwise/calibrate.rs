//! The dense model's sums, saved for any number of prunes.

use crate::report::PruneReport;
use crate::run::predict::resident::peak_resident;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::plan::Plan;
use super::report::{begin_report, calibration};
use super::source::Entering;
use super::statistics::Manifest;
use super::statistics::StatisticsWriter;
use super::walk::{Sink, Walk};
use crate::checkpoint::{Checkpoint, NewFolder};
use crate::gpu::Gpu;
use crate::model::Decoder;
use crate::report::CalibrateReport;
use crate::run::RunError;
use crate::run::folder::RunIdentity;
use crate::run::progress::Progress;

/// Walks the dense model and saves what its linears read, for any number of prunes; `stop` is asked between groups.
///
/// Whatever stops it, nothing is left in the output.
pub fn calibrate(
    plan: &Plan,
    checkpoint: &Checkpoint,
    gpu: &Gpu,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<CalibrateReport, RunError> {
    let start = Instant::now();
    let output = &plan.options.output;
    gpu.limit_stock(plan.demand.stock);
    let folder = NewFolder::create(checkpoint, output, plan.output_bytes)?;
    let (calibration, ids) = calibration(plan, checkpoint, progress)?;
    let identity = RunIdentity {
        model: checkpoint.fingerprint(),
        tokens: calibration.token_hash.clone(),
        settings: plan.settings.clone(),
    };
    let decoder = Decoder::new(gpu, checkpoint, &plan.spec, plan.options.samples.length)?;
    let mut report = begin_report(plan, checkpoint, gpu, calibration);
    let mut writer = StatisticsWriter::new(folder, Manifest::begin(&report, &plan.spec));
    let ids = ids.expect("what is to be saved is captured");
    let entering = Entering::embedded(plan, &decoder, &ids)?;
    drop(ids);
    report.phases.prepare += start.elapsed().as_secs_f64();
    let mut walk = Walk {
        plan,
        decoder: &decoder,
        entering: Some(entering),
        sink: Sink::Statistics(&mut writer),
        report,
        allocated: None,
        progress,
        stop,
        identity,
        done: 0,
        layers_done: 0,
    };
    let result = (0..plan.layers).try_for_each(|layer| walk.layer(layer));
    let mut report = walk.report;
    // With no layer counted as done, an interruption says that nothing was written.
    result.map_err(|error| error.suspended(output, 0, plan.layers))?;
    report.memory.device_peak = gpu.peak_bytes();
    Ok(calibrated(output, &writer.finish()?, report))
}

/// What `secateur calibrate` reports.
fn calibrated(output: &Path, manifest: &Manifest, report: PruneReport) -> CalibrateReport {
    let groups = manifest.layers.iter().map(|layer| layer.groups.len()).sum();
    let mut memory = report.memory;
    memory.host_peak = peak_resident();
    CalibrateReport {
        tool: report.tool,
        model: report.settings.model,
        model_fingerprint: report.input_fingerprint,
        output: output.display().to_string(),
        calibration: report.calibration,
        layers: manifest.layers.len(),
        groups,
        bytes: manifest.layers.iter().map(|layer| layer.bytes).sum(),
        adapter: report.adapter,
        phases: report.phases,
        memory,
    }
}
