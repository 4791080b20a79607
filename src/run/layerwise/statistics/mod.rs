//! Sums over calibration tokens, saved: one pass over the dense model, then any number of prunes without one.
//!
//! A folder holds one safetensors file per decoder layer, with the Gram `Σ x xᵀ` (f32, `[n, n]`) of each group of
//! linears under names such as `attention_input.gram`, and `statistics.json`, which is written last: without it there
//! are no statistics. It knows what the sums were made from and the checksum of each file.

mod read;
mod write;

use serde::{Deserialize, Serialize};

use crate::model::Spec;
use crate::report::{AdapterRecord, CalibrationRecord};

pub(in crate::run) use read::LayerStatistics;
pub use read::Statistics;
pub(in crate::run) use write::StatisticsWriter;

/// Of the manifest's fields.
const VERSION: u32 = 2;
/// The manifest.
pub(in crate::run) const MANIFEST: &str = "statistics.json";

/// What `statistics.json` holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    /// Tool and version.
    pub tool: String,
    /// Source checkpoint.
    pub model: String,
    /// [`crate::checkpoint::Checkpoint::fingerprint`] of it.
    pub model_fingerprint: String,
    /// Family file that matched.
    pub family: String,
    /// [`crate::model::Spec::fingerprint`] of what it says of the model.
    pub family_fingerprint: String,
    /// Calibration tokens.
    pub calibration: CalibrationRecord,
    /// Stored type of the activations between layers.
    pub activations: String,
    /// Device.
    pub adapter: AdapterRecord,
    /// One entry per decoder layer, from the first.
    pub layers: Vec<LayerEntry>,
}

/// One decoder layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LayerEntry {
    /// Decoder layer.
    pub layer: usize,
    /// File name in the same folder.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3, as hex, of all of it.
    pub blake3: String,
    /// Groups of linears, in the order of pruning.
    pub groups: Vec<GroupEntry>,
}

/// Inputs that some linears share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupEntry {
    /// Where in the layer, e.g. `attention_input`; the tensor is `<input>.gram`.
    pub input: String,
    /// Number of inputs.
    pub width: usize,
    /// Calibration tokens summed over.
    pub tokens: usize,
}

impl Manifest {
    /// One without layers yet.
    pub(in crate::run) fn begin(report: &crate::report::PruneReport, spec: &Spec) -> Self {
        Manifest {
            version: VERSION,
            tool: report.tool.clone(),
            model: report.settings.model.clone(),
            model_fingerprint: report.input_fingerprint.clone(),
            family: report.settings.family.clone(),
            family_fingerprint: spec.fingerprint(),
            calibration: report.calibration.clone(),
            activations: report.settings.activations.clone(),
            adapter: report.adapter.clone(),
            layers: Vec::new(),
        }
    }

    /// BLAKE3, as hex, of what the sums are: two manifests of equal sums have the same.
    pub fn key(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for layer in &self.layers {
            hasher.update(layer.blake3.as_bytes());
            for group in &layer.groups {
                hasher.update(&(group.tokens as u64).to_le_bytes());
            }
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// Name of the tensor of a group.
fn tensor(input: &str) -> String {
    format!("{input}.gram")
}
