//! The folder and the weight files of an output: how they begin, how they are found again, how they go.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use super::Checkpoint;
use super::error::CheckpointError;
use super::lock::{OutputLock, is_ours};
use super::open::INDEX;
use super::reshape::{Reshaping, ShardLayout, Slot};
use super::shards::{LENGTH_BYTES, Shard};

/// Tells an output of this program from a checkpoint of somebody's.
const REPORT_FILE: &str = "pruning_report.json";

/// An unfinished weight file of the output.
pub(super) struct OutShard {
    pub(super) temporary: PathBuf,
    /// Where each tensor of the source lies; `None` where it is left out.
    pub(super) slots: Vec<Option<Slot>>,
    /// Whether something has been written since the last sync.
    pub(super) dirty: bool,
}

/// What a weight file of the output begins with, and how long it is.
pub(super) struct Head {
    pub(super) header: Vec<u8>,
    pub(super) length: u64,
    pub(super) shard: OutShard,
}

impl Head {
    pub(super) fn of(shard: &Shard, out: &Path, reshaping: &Reshaping) -> Self {
        let ShardLayout { header, length, slots } = reshaping.layout(shard);
        Head {
            header,
            length,
            shard: OutShard {
                temporary: out.join(format!("{}.tmp", shard.file_name)),
                slots,
                dirty: true,
            },
        }
    }
}

/// Creates `out` if need be; whatever it creates is noted in `created`.
pub(super) fn prepare_directory(
    source: &Checkpoint,
    out: &Path,
    needed: u64,
    created: &mut Created,
) -> Result<(), CheckpointError> {
    if !out.exists() {
        created.directories = out
            .ancestors()
            .take_while(|p| !p.exists())
            .map(Path::to_path_buf)
            .collect();
        return fs::create_dir_all(out).map_err(|e| CheckpointError::write(out, needed, e));
    }
    if !out.is_dir() {
        return Err(CheckpointError::NotADirectory { dir: out.into() });
    }
    let same = |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if same(out, &source.dir) {
        return Err(CheckpointError::OutputIsSource { dir: out.into() });
    }
    if is_ours(out) {
        return Err(OutputLock::refusal(out));
    }
    let mut entries = fs::read_dir(out).map_err(|e| CheckpointError::io(out, "list", e))?;
    match entries.next() {
        None => Ok(()),
        Some(Ok(entry)) => {
            let found = entry.file_name().to_string_lossy().into_owned();
            Err(CheckpointError::OutputNotEmpty { dir: out.into(), found })
        }
        Some(Err(error)) => Err(CheckpointError::io(out, "list", error)),
    }
}

pub(super) fn start_file(file: &mut File, header: &[u8], length: u64) -> std::io::Result<()> {
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header)?;
    file.set_len(length)
}

/// Finds the unfinished weight file for `shard` and checks that it is the one that was started.
pub(super) fn reopen(shard: &Shard, out: &Path) -> Result<OutShard, CheckpointError> {
    let Head {
        header,
        length,
        shard: found,
    } = Head::of(shard, out, &Reshaping::default());
    let unusable = |reason: String| CheckpointError::UnfinishedShard {
        file: found.temporary.clone(),
        dir: out.into(),
        reason,
    };
    let complete = out.join(&shard.file_name);
    // A process that ended within `finish` may have given some files their names already.
    if !found.temporary.exists() && complete.exists() {
        fs::rename(&complete, &found.temporary).map_err(|e| CheckpointError::write(&complete, length, e))?;
    }
    let mut file = File::open(&found.temporary).map_err(|e| unusable(e.to_string()))?;
    let failed = |e| CheckpointError::io(&found.temporary, "read", e);
    let bytes = file.metadata().map_err(failed)?.len();
    if bytes != length {
        return Err(unusable(format!("{bytes} bytes long instead of {length}")));
    }
    let mut start = vec![0; LENGTH_BYTES + header.len()];
    file.read_exact(&mut start).map_err(failed)?;
    let (size, text) = start.split_at(LENGTH_BYTES);
    if size != (header.len() as u64).to_le_bytes() || text != header {
        return Err(unusable("its header is not that of this model".into()));
    }
    Ok(found)
}

/// Whether every weight file of `source` stands in `out` under its own name, with their index and a report of a run.
pub(super) fn is_complete(source: &Checkpoint, out: &Path) -> bool {
    let mut files = source.shards.iter().map(|shard| shard.file_name.as_str());
    let index = source.index.is_none() || out.join(INDEX).is_file();
    files.all(|name| out.join(name).is_file()) && index && out.join(REPORT_FILE).is_file()
}

/// What has been created on disk; removed again on drop unless kept.
#[derive(Default)]
pub(super) struct Created {
    files: Vec<PathBuf>,
    /// Folders that go with all that is in them.
    pub(super) trees: Vec<PathBuf>,
    /// Innermost first.
    directories: Vec<PathBuf>,
    kept: bool,
    resumed: bool,
}

impl Created {
    /// For an output that an earlier process began: what is there stays, and may be of that process.
    pub(super) fn resumed() -> Self {
        let mut created = Created::default();
        (created.kept, created.resumed) = (true, true);
        created
    }

    /// For an output in which an earlier process may have left files, which are of no use.
    pub(super) fn over_others() -> Self {
        let mut created = Created::resumed();
        created.kept = false;
        created
    }

    /// Creates a new file, part of an output of `needed` bytes. Never one that is there already, unless an earlier
    /// process may have written it.
    pub(super) fn file(&mut self, path: &Path, needed: u64) -> Result<File, CheckpointError> {
        let create = if self.resumed { File::create } else { File::create_new };
        let file = create(path).map_err(|e| CheckpointError::write(path, needed, e))?;
        self.note(path);
        Ok(file)
    }

    /// Creates a folder in the output, if it is not there yet.
    pub(super) fn folder(&mut self, path: &Path, needed: u64) -> Result<(), CheckpointError> {
        match fs::create_dir(path) {
            Ok(()) => self.trees.push(path.into()),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(CheckpointError::write(path, needed, e)),
        }
        Ok(())
    }

    /// Notes a file that got its name otherwise.
    pub(super) fn note(&mut self, path: &Path) {
        self.files.push(path.into());
    }

    /// Nothing is removed any more.
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // Failures are passed over: the error that led here is the one to report. A directory goes only if empty.
        for tree in &self.trees {
            let _ = fs::remove_dir_all(tree);
        }
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        for directory in &self.directories {
            let _ = fs::remove_dir(directory);
        }
    }
}
