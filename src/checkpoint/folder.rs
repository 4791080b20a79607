//! A folder of files other than a checkpoint's, being filled: after a failure it is as it was before.

use std::io;
use std::path::{Path, PathBuf};

use super::error::CheckpointError;
use super::lock::{OutputLock, remove_state};
use super::out::{Created, prepare_directory};
use super::{Checkpoint, STATE_FOLDER};

/// A folder that belongs to this process; dropped unfinished it goes, with every file noted.
pub(crate) struct NewFolder {
    path: PathBuf,
    /// Bytes of all that will be written, for the message when the disk is full.
    needed: u64,
    created: Created,
    /// Released after all else.
    _lock: OutputLock,
}

impl NewFolder {
    /// Creates `path` if need be and locks it; fails if it is `source`'s, a file, or not empty.
    pub(crate) fn create(source: &Checkpoint, path: &Path, needed: u64) -> Result<Self, CheckpointError> {
        let mut created = Created::default();
        prepare_directory(source, path, needed, &mut created)?;
        let lock = OutputLock::begin(path)?;
        created.trees.push(path.join(STATE_FOLDER));
        Ok(NewFolder {
            path: path.into(),
            needed,
            created,
            _lock: lock,
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes a file that was written.
    pub(crate) fn note(&mut self, path: &Path) {
        self.created.note(path);
    }

    /// A failure to write `path`.
    pub(crate) fn failed(&self, path: &Path, error: io::Error) -> CheckpointError {
        CheckpointError::write(path, self.needed, error)
    }

    /// All files are there.
    pub(crate) fn finish(mut self) -> Result<(), CheckpointError> {
        self.created.keep();
        remove_state(&self.path)
    }
}
