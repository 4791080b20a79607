//! The dense model's sums, saved for any number of prunes.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::RunError;
use super::plan::Plan;
use super::report::{begin_report, calibrated};
use super::samples::calibration;
use super::source::Entering;
use super::state::RunIdentity;
use super::statistics::{Manifest, StatisticsWriter};
use super::walk::{Progress, Sink, Walk};
use crate::checkpoint::{Checkpoint, NewFolder};
use crate::gpu::Gpu;
use crate::model::Decoder;
use crate::report::CalibrateReport;

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
