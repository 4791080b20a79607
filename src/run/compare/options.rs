//! What is to be compared.

use std::path::PathBuf;

use crate::run::global::SurgeonOptions;
use crate::run::options::PruneOptions;

/// What is to be compared.
#[derive(Clone, Debug)]
pub struct CompareOptions {
    /// The prunes in order, on one calibration text; their output and resume are not used.
    pub rows: Vec<PruneOptions>,
    /// How LLM Surgeon goes about it, but for the refit, which is the row's.
    pub surgeon: SurgeonOptions,
    /// Folder of the results; new, empty, or of an unfinished or smaller comparison of the same settings.
    pub output: PathBuf,
    /// Where to keep the checkpoints; without it each is removed once it has been evaluated.
    pub keep: Option<PathBuf>,
}
