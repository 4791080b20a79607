//! The temporary file for what does not fit in memory, and what can go wrong with it.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Errors of keeping, saving or loading activations.
#[derive(Debug, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "the fields are what the message of each variant says they are"
)]
pub enum ActivationError {
    /// No space, or no quota, is left.
    #[error(
        "{}: disk full; the activations take {needed} bytes there: free that much, or give a folder on another disk",
        path.display()
    )]
    DiskFull { path: PathBuf, needed: u64 },
    /// Any other failure of the operating system.
    #[error(
        "{}: cannot {operation} the activations, {needed} bytes ({error}); check the path and its permissions, or give \
         another folder",
        path.display()
    )]
    Io {
        path: PathBuf,
        operation: &'static str,
        needed: u64,
        error: io::Error,
    },
    /// A file of saved activations is not what was written.
    #[error(
        "{}: damaged ({reason}); this run cannot be continued: delete its folder and start again without `resume`",
        path.display()
    )]
    Damaged { path: PathBuf, reason: String },
}

impl ActivationError {
    /// A failure at `path`, where `needed` bytes go or should be.
    pub(super) fn io(path: &Path, operation: &'static str, needed: u64, error: io::Error) -> Self {
        let path = path.to_path_buf();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ActivationError::DiskFull { path, needed },
            _ => ActivationError::Io {
                path,
                operation,
                needed,
                error,
            },
        }
    }
}

/// A file without a name (or, where there is no such thing, one removed on drop), read and written at given places.
pub(super) struct SpillFile {
    folder: PathBuf,
    file: File,
    bytes: u64,
}

impl SpillFile {
    /// A file for `bytes` bytes of zeros in `folder`; the disk's space is taken as it is written.
    pub(super) fn create(folder: &Path, bytes: u64) -> Result<Self, ActivationError> {
        let create = || {
            let file = tempfile::tempfile_in(folder)?;
            file.set_len(bytes)?;
            Ok(file)
        };
        let file = create().map_err(|e| ActivationError::io(folder, "create a temporary file for", bytes, e))?;
        let folder = folder.to_path_buf();
        Ok(SpillFile { folder, file, bytes })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), ActivationError> {
        read_at(&self.file, offset, out).map_err(|e| ActivationError::io(&self.folder, "read back", self.bytes, e))
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), ActivationError> {
        write_at(&self.file, offset, bytes).map_err(|e| ActivationError::io(&self.folder, "write", self.bytes, e))
    }
}

#[cfg(unix)]
fn read_at(file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(unix)]
fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(out)
}

#[cfg(not(unix))]
fn write_at(mut file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    use std::io::{Seek, SeekFrom, Write};
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}
