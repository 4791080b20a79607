//! Why saved statistics cannot be used.

use std::io;
use std::path::{Path, PathBuf};

/// Errors of reading saved statistics.
#[derive(Debug, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "the fields are what the message of each variant says they are"
)]
pub enum StatisticsError {
    /// No manifest: not a folder of statistics, or one whose making was cut short.
    #[error(
        "{}: missing, so there are no finished statistics; give a folder that `secateur calibrate` has finished \
         (delete one that it has not, and run it again)",
        file.display()
    )]
    Unfinished { file: PathBuf },
    /// A file is not what was written.
    #[error("{}: damaged ({reason}); delete {} and run `secateur calibrate` again", file.display(), dir.display())]
    Damaged {
        file: PathBuf,
        dir: PathBuf,
        reason: String,
    },
    /// The manifest is of another version of this program.
    #[error(
        "{}: of version {version}, which this program does not read; run `secateur calibrate` again",
        file.display()
    )]
    Version { file: PathBuf, version: u64 },
    /// Made from another checkpoint.
    #[error(
        "{}: made from another model ({made_from}, with another fingerprint than {}); run `secateur calibrate` on this one",
        file.display(), model.display()
    )]
    OtherModel {
        file: PathBuf,
        made_from: String,
        model: PathBuf,
    },
    /// Made by another forward pass.
    #[error(
        "{}: made with another description of the model (family {made_by}); give the `family` that `secateur calibrate` \
         had, or run it again",
        file.display()
    )]
    OtherFamily { file: PathBuf, made_by: String },
    /// A layer that was not saved.
    #[error(
        "{}: has no layer {layer} of the {wanted} to be pruned; use `limit-layers`, or run `secateur calibrate` again \
         without it",
        file.display()
    )]
    MissingLayer { file: PathBuf, layer: usize, wanted: usize },
    /// Sums of other inputs than the model has.
    #[error(
        "{}: layer {layer} has {found}, the model {wanted}; give the `family` that `secateur calibrate` had, or run \
         it again",
        file.display()
    )]
    OtherShape {
        file: PathBuf,
        layer: usize,
        found: String,
        wanted: String,
    },
    /// A failure of the operating system.
    #[error("{}: cannot read the statistics ({error}); check the path and its permissions", path.display())]
    Io { path: PathBuf, error: io::Error },
}

impl StatisticsError {
    pub(in crate::run) fn io(path: &Path, error: io::Error) -> Self {
        let path = path.to_path_buf();
        StatisticsError::Io { path, error }
    }
}
