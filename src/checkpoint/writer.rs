//! Writing a checkpoint of the same layout as the one that was read, one tensor at a time.
//!
//! No size ever changes, so every tensor's place in the output is known before the first one is written. Weights are
//! collected in `<shard>.tmp` and take their names only when all else is in place: a directory that holds
//! `model.safetensors`, or its index, is a complete checkpoint.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::CheckpointError;
use super::open::INDEX;
use super::shards::{LENGTH_BYTES, Shard};
use super::{Checkpoint, side_files};

/// Untouched tensors are copied in pieces of this many bytes.
const PIECE: usize = 16 << 20;

/// A checkpoint being written; dropping it unfinished removes everything it has written.
pub struct CheckpointWriter<'a> {
    source: &'a Checkpoint,
    out: PathBuf,
    /// One for each shard of the source.
    shards: Vec<OutShard>,
    replaced: HashSet<&'a str>,
    /// Bytes of all weight files, for the message when the disk is full.
    needed: u64,
    created: Created,
}

struct OutShard {
    temporary: PathBuf,
    /// First byte after the header, as in the source shard but for a header that had to be rewritten.
    data_start: u64,
}

impl<'a> CheckpointWriter<'a> {
    /// Starts a copy of `source` in the directory `out`, which is created if need be.
    ///
    /// Fails if `out` is the source's directory, a file, or not empty, and if it cannot be written.
    pub fn create(source: &'a Checkpoint, out: &Path) -> Result<Self, CheckpointError> {
        let needed = source.shards.iter().map(Shard::len).sum();
        let mut created = Created::default();
        prepare_directory(source, out, needed, &mut created)?;
        let mut shards = Vec::new();
        for shard in &source.shards {
            let temporary = out.join(format!("{}.tmp", shard.file_name));
            let header = header_with_format(shard);
            let data_start = (LENGTH_BYTES + header.len()) as u64;
            let length = data_start + shard.len() - shard.data_start as u64;
            let mut file = created.file(&temporary, needed)?;
            start_file(&mut file, &header, length).map_err(|e| CheckpointError::write(&temporary, needed, e))?;
            shards.push(OutShard { temporary, data_start });
        }
        Ok(CheckpointWriter {
            source,
            out: out.into(),
            shards,
            replaced: HashSet::new(),
            needed,
            created,
        })
    }

    /// Writes `bytes` to disk as the new contents of the tensor `name`; the last of several calls counts.
    ///
    /// Fails if the source lacks the tensor, if it has another number of bytes, or if the disk is full.
    pub fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
        let source = self.source;
        let (shard, entry) = source.locate(name)?;
        let (expected, found) = (entry.range.len(), bytes.len());
        if expected != found {
            let (file, tensor) = (shard.path.clone(), name.to_owned());
            return Err(CheckpointError::ReplacementSize {
                file,
                tensor,
                expected,
                found,
            });
        }
        let (number, _) = source.places[name];
        self.write_at(number, entry.range.start, bytes)?;
        self.replaced.insert(&entry.name);
        Ok(())
    }

    /// Copies whatever was not [`put`](Self::put), then the files beside the weights, then `extra_files` (plain names
    /// and contents), and puts everything in its place. Returns the paths of all files written, weights last.
    ///
    /// `config.json` and the index are copied byte for byte. An extra file takes the place of one of the source; only
    /// a `README.md` is joined with the source's, which then stands below. On failure nothing of the output is left.
    pub fn finish(mut self, extra_files: &[(&str, &[u8])]) -> Result<Vec<PathBuf>, CheckpointError> {
        for number in 0..self.shards.len() {
            self.copy_untouched(number)?;
        }
        let mut written = Vec::new();
        for (name, contents) in side_files::collect(self.source, extra_files)? {
            written.push(self.write_side_file(&name, contents)?);
        }
        for (shard, source) in self.shards.iter().zip(&self.source.shards) {
            let path = self.out.join(&source.file_name);
            fs::rename(&shard.temporary, &path).map_err(|e| CheckpointError::write(&path, self.needed, e))?;
            self.created.files.push(path.clone());
            written.push(path);
        }
        if let Some(index) = &self.source.index {
            written.push(self.write_side_file(INDEX, side_files::Contents::Bytes(index))?);
        }
        // Without this the names themselves may be lost with the power. Windows cannot open a directory.
        #[cfg(unix)]
        sync(&self.out).map_err(|e| CheckpointError::write(&self.out, self.needed, e))?;
        self.created.keep();
        Ok(written)
    }

    /// `offset` is counted as in the source file. The file is opened each time: a model may have hundreds of shards.
    fn write_at(&self, number: usize, offset: usize, bytes: &[u8]) -> Result<(), CheckpointError> {
        let OutShard { temporary, data_start } = &self.shards[number];
        let offset = data_start + (offset - self.source.shards[number].data_start) as u64;
        let write = || {
            let mut file = OpenOptions::new().write(true).open(temporary)?;
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(bytes)
        };
        write().map_err(|e| CheckpointError::write(temporary, self.needed, e))
    }

    fn copy_untouched(&self, number: usize) -> Result<(), CheckpointError> {
        let shard = &self.source.shards[number];
        for entry in shard
            .entries
            .iter()
            .filter(|entry| !self.replaced.contains(entry.name.as_str()))
        {
            for start in entry.range.clone().step_by(PIECE) {
                let piece = start..entry.range.end.min(start + PIECE);
                self.write_at(number, start, shard.bytes(piece.clone()))?;
                shard.release(piece);
            }
        }
        let temporary = &self.shards[number].temporary;
        sync(temporary).map_err(|e| CheckpointError::write(temporary, self.needed, e))
    }

    fn write_side_file(&mut self, name: &str, contents: side_files::Contents) -> Result<PathBuf, CheckpointError> {
        let path = self.out.join(name);
        let file = self.created.file(&path, self.needed)?;
        contents.write(file, &path, self.needed)?;
        Ok(path)
    }
}

/// Creates `out` if need be; whatever it creates is noted in `created`.
fn prepare_directory(
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

/// The source's header, byte for byte if it names a framework (transformers insists) and ends on 8 bytes (so that
/// readers find aligned tensors); otherwise mended in these two points.
fn header_with_format(shard: &Shard) -> Vec<u8> {
    let mut header: Map<String, Value> = serde_json::from_slice(shard.header()).expect("checked when it was opened");
    let format = header.get("__metadata__").and_then(|m| m.get("format"));
    if format.is_some() && shard.header().len().is_multiple_of(LENGTH_BYTES) {
        return shard.header().to_vec();
    }
    if format.is_none() {
        let metadata = header.entry("__metadata__").or_insert(Value::Null);
        let mut entries = metadata.as_object().cloned().unwrap_or_default();
        entries.insert("format".into(), "pt".into());
        *metadata = entries.into();
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(LENGTH_BYTES), b' ');
    text
}

fn start_file(file: &mut File, header: &[u8], length: u64) -> std::io::Result<()> {
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header)?;
    file.set_len(length)
}

/// Waits until a file or directory is on the disk; also reports a write that failed late.
fn sync(path: &Path) -> std::io::Result<()> {
    // Windows flushes only what is open for writing; a directory on Unix opens only for reading.
    OpenOptions::new()
        .read(true)
        .write(!path.is_dir())
        .open(path)?
        .sync_all()
}

/// What has been created on disk; removed again on drop unless kept.
#[derive(Default)]
struct Created {
    files: Vec<PathBuf>,
    /// Innermost first.
    directories: Vec<PathBuf>,
}

impl Created {
    /// Creates a new file, part of an output of `needed` bytes; never one that is there already.
    fn file(&mut self, path: &Path, needed: u64) -> Result<File, CheckpointError> {
        let file = File::create_new(path).map_err(|e| CheckpointError::write(path, needed, e))?;
        self.files.push(path.into());
        Ok(file)
    }

    fn keep(&mut self) {
        self.files.clear();
        self.directories.clear();
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        // Failures are passed over: the error that led here is the one to report. A directory goes only if empty.
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        for directory in &self.directories {
            let _ = fs::remove_dir(directory);
        }
    }
}
