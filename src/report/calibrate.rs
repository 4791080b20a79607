//! What `secateur calibrate` tells.

use serde::Serialize;

use super::layout::megabytes;
use super::{AdapterRecord, CalibrationRecord, Memory, Phases};

/// Statistics that were saved.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CalibrateReport {
    /// Tool and version.
    pub tool: String,
    /// Source checkpoint.
    pub model: String,
    /// blake3 of its config and headers.
    pub model_fingerprint: String,
    /// Folder of the statistics.
    pub output: String,
    /// Calibration tokens.
    pub calibration: CalibrationRecord,
    /// Decoder layers.
    pub layers: usize,
    /// Groups of linears in them.
    pub groups: usize,
    /// Bytes of all files.
    pub bytes: u64,
    /// Device.
    pub adapter: AdapterRecord,
    /// Wall time by phase.
    pub phases: Phases,
    /// Peak memory.
    pub memory: Memory,
}

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
