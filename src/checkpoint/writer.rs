//! Writing a checkpoint of the same layout as the one that was read, or of one with other shapes, one tensor at a time.
//!
//! All shapes are known beforehand, so every tensor's place in the output is known before the first one is written. Weights are
//! collected in `<shard>.tmp` and take their names only when all else is in place: a directory that holds
//! `model.safetensors`, or its index, is a complete checkpoint.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::durable::{remove_if_there, sync, sync_folder};
use super::error::CheckpointError;
use super::lock::{OutputLock, remove_state};
use super::open::INDEX;
use super::out::{Created, Head, OutShard, is_complete, prepare_directory, reopen, start_file};
use super::reshape::{Reshaping, Slot};
use super::{Checkpoint, STATE_FOLDER, side_files};

/// Untouched tensors are copied in pieces of this many bytes.
const PIECE: usize = 4 << 20;

/// A checkpoint being written; dropping it unfinished removes everything it has written, unless it is to be continued
/// by a later process ([`CheckpointWriter::keep`], [`CheckpointWriter::resume`]).
pub struct CheckpointWriter<'a> {
    source: &'a Checkpoint,
    reshaping: Reshaping,
    out: PathBuf,
    /// One for each shard of the source.
    shards: Vec<OutShard>,
    replaced: HashSet<&'a str>,
    /// Bytes of all weight files, for the message when the disk is full.
    needed: u64,
    created: Created,
    /// Released after all else.
    _lock: Option<OutputLock>,
}

impl<'a> CheckpointWriter<'a> {
    /// Starts a copy of `source` in the directory `out`, which is created if need be, and locks it.
    ///
    /// Fails if `out` is the source's directory, a file, or not empty, and if it cannot be written.
    pub fn create(source: &'a Checkpoint, out: &Path) -> Result<Self, CheckpointError> {
        Self::create_reshaped(source, out, Reshaping::default())
    }

    /// As [`CheckpointWriter::create`] with other shapes, for which [`CheckpointWriter::put`] then takes the bytes.
    pub fn create_reshaped(source: &'a Checkpoint, out: &Path, reshaping: Reshaping) -> Result<Self, CheckpointError> {
        let mut created = Created::default();
        prepare_directory(source, out, source.weight_bytes(), &mut created)?;
        let lock = OutputLock::begin(out)?;
        Self::start(source, out, reshaping, (Some(lock), created))
    }

    /// Starts or restarts a copy of `source`, with other shapes if `reshaping` has any, in `out`: the folder of a run that
    /// the caller has locked and ends, in whose state folder `source` may lie. Dropping it removes its files, unless there
    /// is `anything` to restart from.
    pub fn within(
        source: &'a Checkpoint,
        out: &Path,
        reshaping: Reshaping,
        anything: bool,
    ) -> Result<Self, CheckpointError> {
        let created = match anything {
            true => Created::resumed(),
            false => Created::over_others(),
        };
        Self::start(source, out, reshaping, (None, created))
    }

    /// Fails if `out`, where no run is to be resumed, is an output that was finished.
    pub fn refuse_complete(source: &Checkpoint, out: &Path) -> Result<(), CheckpointError> {
        if !is_complete(source, out) {
            return Ok(());
        }
        if let Some(_lock) = OutputLock::of_unfinished(out)? {
            // The run died when all but this was done.
            remove_state(out)?;
        }
        Err(CheckpointError::NothingToResume { dir: out.into() })
    }

    fn start(
        source: &'a Checkpoint,
        out: &Path,
        reshaping: Reshaping,
        (lock, mut created): (Option<OutputLock>, Created),
    ) -> Result<Self, CheckpointError> {
        let needed = source.weight_bytes();
        created.trees.push(out.join(STATE_FOLDER));
        let mut shards = Vec::new();
        for shard in &source.shards {
            let Head { header, length, shard } = Head::of(shard, out, &reshaping);
            let mut file = created.file(&shard.temporary, needed)?;
            start_file(&mut file, &header, length).map_err(|e| CheckpointError::write(&shard.temporary, needed, e))?;
            shards.push(shard);
        }
        Ok(CheckpointWriter {
            reshaping,
            ..Self::new(source, out, lock, shards, created)
        })
    }

    /// Continues an output that an earlier process left unfinished in `out`, with all that was put and synced. The caller
    /// has locked it, and ends the run.
    ///
    /// What had been put is not known here: see [`CheckpointWriter::mark_written`]. Fails unless every shard is as
    /// [`CheckpointWriter::create`] starts it. Dropping it leaves the files for yet another resume.
    pub fn resume(source: &'a Checkpoint, out: &Path) -> Result<Self, CheckpointError> {
        // A process that ended within `finish` may have come as far as the index: the output is incomplete again.
        if source.index.is_some() {
            remove_if_there(&out.join(INDEX))?;
        }
        let shards = source.shards.iter().map(|shard| reopen(shard, out));
        let shards = shards.collect::<Result<_, _>>()?;
        Ok(Self::new(source, out, None, shards, Created::resumed()))
    }

    fn new(
        source: &'a Checkpoint,
        out: &Path,
        lock: Option<OutputLock>,
        shards: Vec<OutShard>,
        created: Created,
    ) -> Self {
        CheckpointWriter {
            source,
            reshaping: Reshaping::default(),
            out: out.into(),
            shards,
            replaced: HashSet::new(),
            needed: source.weight_bytes(),
            created,
            _lock: lock,
        }
    }

    /// Says that the tensor `name` was put before the resume: [`CheckpointWriter::finish`] leaves it as it is.
    pub fn mark_written(&mut self, name: &str) -> Result<(), CheckpointError> {
        let (_, entry) = self.source.locate(name)?;
        self.replaced.insert(&entry.name);
        Ok(())
    }

    /// Waits until everything put so far is on the disk, so that it survives a crash of the machine.
    pub fn sync(&mut self) -> Result<(), CheckpointError> {
        let mut any = false;
        for shard in self.shards.iter_mut().filter(|shard| shard.dirty) {
            sync(&shard.temporary).map_err(|e| CheckpointError::write(&shard.temporary, self.needed, e))?;
            shard.dirty = false;
            any = true;
        }
        match any {
            true => sync_folder(&self.out).map_err(|e| CheckpointError::write(&self.out, self.needed, e)),
            false => Ok(()),
        }
    }

    /// From now on dropping it, also because of an error, leaves all files for a [`CheckpointWriter::resume`].
    pub fn keep(&mut self) {
        self.created.keep();
    }

    /// Stops here and leaves all files for a [`CheckpointWriter::resume`], on the disk.
    pub fn suspend(mut self) -> Result<(), CheckpointError> {
        self.keep();
        self.sync()
    }

    /// Writes `bytes` to disk as the new contents of the tensor `name`; the last of several calls counts.
    ///
    /// Fails if the source lacks the tensor, if it has another number of bytes, or if the disk is full.
    pub fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
        let source = self.source;
        let (shard, entry) = source.locate(name)?;
        let at = source.places[name];
        let slot = self
            .slot(at)
            .unwrap_or_else(|| panic!("put: {name} is left out of the output"));
        if slot.bytes != bytes.len() {
            return Err(CheckpointError::ReplacementSize {
                file: shard.path.clone(),
                tensor: name.to_owned(),
                expected: slot.bytes,
                found: bytes.len(),
            });
        }
        self.shards[at.0].dirty = true;
        self.write_at(at, 0, bytes)?;
        self.replaced.insert(&entry.name);
        Ok(())
    }

    /// The contents of the tensor `name` as they stand: what was put last, else the source's.
    pub fn current(&self, name: &str) -> Result<Vec<u8>, CheckpointError> {
        let source = self.source;
        let (shard, entry) = source.locate(name)?;
        if !self.replaced.contains(entry.name.as_str()) {
            return Ok(shard.bytes(entry.range.clone()).to_vec());
        }
        let at = source.places[name];
        let slot = self.slot(at).expect("only what has a place is put");
        let mut bytes = vec![0; slot.bytes];
        let temporary = &self.shards[at.0].temporary;
        let mut read = || {
            let mut file = File::open(temporary)?;
            file.seek(SeekFrom::Start(slot.start))?;
            file.read_exact(&mut bytes)
        };
        read().map_err(|e| CheckpointError::io(temporary, "read", e))?;
        Ok(bytes)
    }

    /// Copies whatever was not [`put`](Self::put), then the files beside the weights, then `extra_files` (plain names
    /// and contents), and puts everything in its place. Returns the paths of all files written, weights last.
    ///
    /// `config.json` and the index are copied byte for byte, unless there are other shapes. An extra file takes the place of one of the source; only
    /// a `README.md` is joined with the source's, which then stands below. On failure nothing of the output is left, or
    /// everything if it is to be continued.
    ///
    /// The output is complete then, but still the one of an unfinished run until [`CheckpointWriter::close`].
    pub fn place(&mut self, extra_files: &[(&str, &[u8])]) -> Result<Vec<PathBuf>, CheckpointError> {
        for number in 0..self.shards.len() {
            self.copy_untouched(number)?;
        }
        let mut written = Vec::new();
        let config = self.reshaping.config.take();
        let mut side_files = side_files::collect(self.source, extra_files)?;
        if let Some(config) = &config {
            side_files.insert("config.json".into(), side_files::Contents::Bytes(config));
        }
        for (name, contents) in side_files {
            written.push(self.write_side_file(&name, contents)?);
        }
        for (shard, source) in self.shards.iter().zip(&self.source.shards) {
            let path = self.out.join(&source.file_name);
            fs::rename(&shard.temporary, &path).map_err(|e| CheckpointError::write(&path, self.needed, e))?;
            self.created.note(&path);
            written.push(path);
        }
        if let Some(index) = &self.source.index {
            let reshaped = self.reshaping.index(index, &self.source.shards);
            let contents = side_files::Contents::Bytes(reshaped.as_ref().unwrap_or(index));
            written.push(self.write_side_file(INDEX, contents)?);
        }
        // Without this the names themselves may be lost with the power.
        sync_folder(&self.out).map_err(|e| CheckpointError::write(&self.out, self.needed, e))?;
        self.created.keep();
        Ok(written)
    }

    /// Removes the state of the run: there is nothing to resume any more.
    pub fn close(self) -> Result<(), CheckpointError> {
        remove_state(&self.out)
    }

    /// [`CheckpointWriter::place`], then [`CheckpointWriter::close`].
    pub fn finish(mut self, extra_files: &[(&str, &[u8])]) -> Result<Vec<PathBuf>, CheckpointError> {
        let written = self.place(extra_files)?;
        self.close()?;
        Ok(written)
    }

    /// Writes at `offset` within a tensor. The file is opened each time: a model may have hundreds of shards.
    fn write_at(&self, at: (usize, usize), offset: usize, bytes: &[u8]) -> Result<(), CheckpointError> {
        let slot = self.slot(at).expect("only what has a place is written");
        let temporary = &self.shards[at.0].temporary;
        let write = || {
            let mut file = OpenOptions::new().write(true).open(temporary)?;
            file.seek(SeekFrom::Start(slot.start + offset as u64))?;
            file.write_all(bytes)
        };
        write().map_err(|e| CheckpointError::write(temporary, self.needed, e))
    }

    /// The place of a tensor, by its shard and number there; none if it is left out.
    fn slot(&self, (shard, entry): (usize, usize)) -> Option<Slot> {
        self.shards[shard].slots[entry]
    }

    fn copy_untouched(&self, number: usize) -> Result<(), CheckpointError> {
        let shard = &self.source.shards[number];
        for (i, entry) in shard.entries.iter().enumerate() {
            let Some(slot) = self
                .slot((number, i))
                .filter(|_| !self.replaced.contains(entry.name.as_str()))
            else {
                continue;
            };
            assert!(!slot.reshaped, "{} has another shape and was not put", entry.name);
            for start in entry.range.clone().step_by(PIECE) {
                let piece = start..entry.range.end.min(start + PIECE);
                self.write_at((number, i), start - entry.range.start, shard.bytes(piece.clone()))?;
                shard.release(piece);
            }
        }
        let temporary = &self.shards[number].temporary;
        sync(temporary).map_err(|e| CheckpointError::write(temporary, self.needed, e))
    }

    fn write_side_file(&mut self, name: &str, contents: side_files::Contents) -> Result<PathBuf, CheckpointError> {
        let path = self.out.join(name);
        if let Some((folder, _)) = name.split_once('/') {
            self.created.folder(&self.out.join(folder), self.needed)?;
        }
        let file = self.created.file(&path, self.needed)?;
        contents.write(file, &path, self.needed)?;
        Ok(path)
    }
}
