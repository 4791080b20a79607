//! A folder of files other than a checkpoint's, being filled: after a failure it is as it was before.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::CheckpointError;
use super::lock::{OutputLock, is_ours, remove_state};
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

    /// As [`NewFolder::create`], or goes on in a folder that this program has begun: one that holds `file`, or nothing
    /// but its state and half-made files. What is there then stays, also after a failure.
    pub(crate) fn create_or_continue(
        source: &Checkpoint,
        path: &Path,
        needed: u64,
        file: &str,
    ) -> Result<Self, CheckpointError> {
        let begun = || {
            let mut names = fs::read_dir(path).ok()?.flatten().map(|entry| entry.file_name());
            // Half-made files of whatever run; only one of the same names is ever written over.
            let is_mine = |name: OsString| name == STATE_FOLDER || Path::new(&name).extension() == Some("tmp".as_ref());
            Some(path.join(file).is_file() || is_ours(path) && names.all(is_mine))
        };
        if begun() != Some(true) {
            return Self::create(source, path, needed);
        }
        let lock = match OutputLock::of_unfinished(path)? {
            Some(lock) => lock,
            None => OutputLock::begin(path)?,
        };
        Ok(NewFolder {
            path: path.into(),
            needed,
            created: Created::resumed(),
            _lock: lock,
        })
    }

    /// From now on a failure leaves what is there.
    pub(crate) fn keep(&mut self) {
        self.created.keep();
    }

    /// A folder in it for what is needed only until it is finished.
    pub(crate) fn state(&self) -> PathBuf {
        self.path.join(STATE_FOLDER)
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
