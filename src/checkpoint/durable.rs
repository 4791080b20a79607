//! Replacing a file so that after a crash the old one or the new one is there, whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::error::CheckpointError;

/// A file being written beside the one it will replace; dropped unfinished it leaves the old one alone.
pub(crate) struct Replacement {
    path: PathBuf,
    temporary: PathBuf,
    file: Option<File>,
}

impl Replacement {
    /// Starts `<path>.tmp`; what a crash left there is overwritten.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let file = Some(File::create(&temporary)?);
        let path = path.to_path_buf();
        Ok(Replacement { path, temporary, file })
    }

    /// All at once.
    pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut new = Self::create(path)?;
        new.file().write_all(bytes)?;
        new.finish()
    }

    /// Where to write.
    pub(crate) fn file(&mut self) -> &mut File {
        self.file.as_mut().expect("only `finish` takes the file")
    }

    /// Waits until the contents are on the disk, then gives them their name, then waits for the name.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.sync_all()?;
        }
        // Windows renames no open file.
        let file = self.file.take();
        drop(file);
        if let Err(error) = fs::rename(&self.temporary, &self.path) {
            let _ = fs::remove_file(&self.temporary);
            return Err(error);
        }
        sync_folder(self.path.parent().unwrap_or(Path::new(".")))
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // A failure is passed over: the error that led here is the one to report.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Waits until the names in a folder are on the disk. Windows cannot open a folder: there it does nothing.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    match cfg!(unix) {
        true => sync(folder),
        false => Ok(()),
    }
}

/// Waits until a file or folder is on the disk; also reports a write that failed late.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    // Windows flushes only what is open for writing; a directory on Unix opens only for reading.
    OpenOptions::new()
        .read(true)
        .write(!path.is_dir())
        .open(path)?
        .sync_all()
}

/// Removes a file, unless there is none.
pub(super) fn remove_if_there(file: &Path) -> Result<(), CheckpointError> {
    match fs::remove_file(file) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(CheckpointError::io(file, "remove", e)),
        _ => Ok(()),
    }
}
