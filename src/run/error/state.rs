//! Why an unfinished run cannot be continued.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::ActivationError;

/// Errors of keeping or continuing an unfinished run.
#[derive(Debug, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "the fields are what the message of each variant says they are"
)]
pub enum StateError {
    /// The run was begun with other settings.
    #[error(
        "{}: this unfinished run cannot be continued with other settings ({differences}); give those it was begun \
         with, or delete the folder and start again without `resume`",
        output.display()
    )]
    Differs { output: PathBuf, differences: String },
    /// The file is not what was written.
    #[error(
        "{}: damaged ({reason}); this run cannot be continued: delete {} and start again without `resume`",
        file.display(), output.display()
    )]
    Damaged {
        file: PathBuf,
        output: PathBuf,
        reason: String,
    },
    /// The file is of another version of this program.
    #[error(
        "{}: of version {version}, which this program does not read; continue with the program that began the run, or \
         delete {} and start again without `resume`",
        file.display(), output.display()
    )]
    Version {
        file: PathBuf,
        output: PathBuf,
        version: u64,
    },
    /// A failure of the operating system.
    #[error("{}: cannot {operation} the state of the run ({error}); check the path, its permissions and free space", path.display())]
    Io {
        path: PathBuf,
        operation: &'static str,
        error: io::Error,
    },
    /// A problem with the activations.
    #[error(transparent)]
    Activations(#[from] ActivationError),
}

impl StateError {
    pub(in crate::run) fn io(path: &Path, operation: &'static str, error: io::Error) -> Self {
        let path = path.to_path_buf();
        StateError::Io { path, operation, error }
    }
}
