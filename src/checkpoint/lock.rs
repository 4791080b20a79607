//! The lock that keeps two processes from writing one output: held while a process works there, released by the
//! operating system when it ends, however it ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::durable::remove_if_there;
use super::error::CheckpointError;
use super::{STATE_FILE, STATE_FOLDER};

/// The locked file, beside the state.
const LOCK_FILE: &str = "lock";

/// The right to write an output.
pub struct OutputLock {
    /// Never written; open, it holds the lock.
    _file: File,
}

impl OutputLock {
    /// Takes a new output, of which nobody has begun a run yet.
    pub(crate) fn begin(out: &Path) -> Result<Self, CheckpointError> {
        match fs::create_dir(out.join(STATE_FOLDER)) {
            Ok(()) => Self::take(out)?.ok_or_else(|| locked(out)),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(Self::refusal(out)),
            Err(e) => Err(CheckpointError::write(out, 0, e)),
        }
    }

    /// Takes the unfinished run in `out`; `None` if there is none. Fails if another process has it.
    pub fn of_unfinished(out: &Path) -> Result<Option<Self>, CheckpointError> {
        // The process that had it may finish between two looks, and its folder go.
        while is_ours(out) {
            if let Some(lock) = Self::take(out)? {
                return Ok(Some(lock));
            }
        }
        Ok(None)
    }

    /// Why nobody may begin in `out`, which holds a run already.
    pub(super) fn refusal(out: &Path) -> CheckpointError {
        match Self::take(out) {
            Err(error @ CheckpointError::Locked { .. }) => error,
            _ => CheckpointError::UnfinishedRun { dir: out.into() },
        }
    }

    /// `None` if the folder went while it was being locked.
    fn take(out: &Path) -> Result<Option<Self>, CheckpointError> {
        let path = out.join(STATE_FOLDER).join(LOCK_FILE);
        let open = || OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = match open() {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|e| CheckpointError::write(&path, 0, e))?,
        };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(locked(out)),
            // A file system without locks is no reason not to work on it.
            Err(TryLockError::Error(e)) if e.kind() != ErrorKind::Unsupported => {
                return Err(CheckpointError::io(&path, "lock", e));
            }
            _ => {}
        }
        match same_file(&file, &path) {
            Ok(true) => Ok(Some(OutputLock { _file: file })),
            _ => Ok(None),
        }
    }
}

/// Whether `out` has a state folder of this program's, at whatever stage.
pub(super) fn is_ours(out: &Path) -> bool {
    let folder = out.join(STATE_FOLDER);
    let has = |name: &str| folder.join(name).is_file();
    let empty = || fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_none());
    has(LOCK_FILE) || has(STATE_FILE) || empty()
}

/// Removes the state folder; the state first, without which the rest means nothing to anyone.
pub(super) fn remove_state(out: &Path) -> Result<(), CheckpointError> {
    let folder = out.join(STATE_FOLDER);
    remove_if_there(&folder.join(STATE_FILE))?;
    match fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(CheckpointError::io(&folder, "remove", e)),
        _ => Ok(()),
    }
}

fn locked(out: &Path) -> CheckpointError {
    CheckpointError::Locked { dir: out.into() }
}

#[cfg(unix)]
fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (a, b) = (file.metadata()?, fs::metadata(path)?);
    Ok((a.dev(), a.ino()) == (b.dev(), b.ino()))
}

#[cfg(not(unix))]
fn same_file(_: &File, path: &Path) -> io::Result<bool> {
    Ok(path.exists())
}
