//! What `secateur calibrate` prints.

use super::layout::megabytes;
use crate::report::CalibrateReport;

/// A report as lines.
pub fn calibrate_lines(report: &CalibrateReport) -> String {
    let (phases, memory) = (&report.phases, &report.memory);
    format!(
        "{} Gram matrices of {} decoder layers over {} x {} tokens, {}, in {}\n\
         {:.1} s: prepare {:.1}, capture {:.1}, propagate {:.1}, write {:.1}\n\
         peak memory: device {}, host {}\n\
         next: secateur prune {} --output PRUNED --statistics {} --sparsity 0.5",
        report.groups,
        report.layers,
        report.calibration.samples,
        report.calibration.length,
        megabytes(report.bytes),
        report.output,
        phases.total(),
        phases.prepare,
        phases.capture,
        phases.propagate,
        phases.write,
        megabytes(memory.device_peak),
        memory.host_peak.map_or("unknown".to_string(), megabytes),
        report.model,
        report.output,
    )
}
