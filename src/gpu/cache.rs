//! What is worth keeping of this machine between runs: files in the user's cache folder that may be lost at any time.

use std::path::{Path, PathBuf};

/// The folder, where the system has one.
pub(super) fn folder() -> Option<PathBuf> {
    let home = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    Some(home.join("secateur"))
}

/// Puts a file in place as a whole. One that cannot be written only costs the work again.
pub(super) fn store(path: &Path, bytes: &[u8]) {
    let Some(folder) = path.parent() else { return };
    let _ = std::fs::create_dir_all(folder);
    if let Ok(file) = tempfile::NamedTempFile::new_in(folder)
        && std::fs::write(file.path(), bytes).is_ok()
    {
        let _ = file.persist(path);
    }
}
