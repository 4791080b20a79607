//! What `secateur calibrate` tells.

use serde::Serialize;

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
