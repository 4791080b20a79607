//! What can be wrong with a checkpoint on disk, said so that its owner can mend it.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use safetensors::Dtype;

/// Everything that can go wrong while reading or writing a checkpoint.
///
/// Each message is complete: it names the file, the tensor and the sizes concerned and ends with one thing to do.
/// Causes are part of the message and are therefore not repeated by `source()`.
#[derive(Debug, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "the fields are what the message of each variant says they are"
)]
pub enum CheckpointError {
    /// The path given as a checkpoint does not exist.
    #[error(
        "{}: no such directory; give the local folder of a Hugging Face checkpoint (nothing is downloaded)",
        dir.display()
    )]
    NoDirectory { dir: PathBuf },

    /// The path given as a directory, for input or output, is a file.
    #[error("{}: this is a file; give a directory (the folder that holds, or shall hold, config.json)", dir.display())]
    NotADirectory { dir: PathBuf },

    /// `config.json` is missing.
    #[error("{}: missing; copy the file from the original model to stand beside the weights", file.display())]
    MissingConfig { file: PathBuf },

    /// `config.json` is not a JSON object.
    #[error("{}: not a JSON object ({reason}); fetch the file again", file.display())]
    ConfigNotJson { file: PathBuf, reason: String },

    /// A key of `config.json` is absent or of another type.
    #[error(
        "{}: key \"{key}\" should be {expected} but is {found}; correct the file or fetch it again",
        file.display()
    )]
    ConfigKey {
        file: PathBuf,
        key: String,
        expected: &'static str,
        found: String,
    },

    /// The weights are stored quantized.
    #[error(
        "{}: has \"{key}\" ({method}), so the weights are quantized; give the unquantized checkpoint it was \
         made from",
        file.display()
    )]
    Quantized {
        file: PathBuf,
        key: &'static str,
        method: String,
    },

    /// Neither `model.safetensors` nor an index is there.
    #[error(
        "{}: neither model.safetensors nor model.safetensors.index.json found; give the folder that holds \
         them",
        dir.display()
    )]
    NoWeights { dir: PathBuf },

    /// Only weights of another format are there.
    #[error(
        "{}: holds {found} but no safetensors; load it in transformers and save it with \
         save_pretrained(safe_serialization=True)",
        dir.display()
    )]
    OtherFormat { dir: PathBuf, found: String },

    /// The shard index cannot be used.
    #[error("{}: {reason}; fetch the index again", file.display())]
    BadIndex { file: PathBuf, reason: String },

    /// The index names a shard that is not there.
    #[error(
        "{}: missing, but {} says that tensor {tensor} is in it; fetch the missing shard",
        shard.display(), index.display()
    )]
    MissingShard {
        index: PathBuf,
        shard: PathBuf,
        tensor: String,
    },

    /// The index names a tensor its shard lacks.
    #[error(
        "{}: lacks tensor {tensor}, which {} says is in it; fetch the index and the shard again, from one \
         revision",
        shard.display(), index.display()
    )]
    NotInShard {
        index: PathBuf,
        shard: PathBuf,
        tensor: String,
    },

    /// Two shards hold a tensor of the same name.
    #[error(
        "tensor {tensor} is in both {} and {}; remove the shard that does not belong to this model",
        first.display(), second.display()
    )]
    DuplicateTensor {
        tensor: String,
        first: PathBuf,
        second: PathBuf,
    },

    /// The file is a placeholder for a file that was never fetched.
    #[error("{}: this is a Git LFS pointer, not the weights; run `git lfs pull` in its folder", file.display())]
    LfsPointer { file: PathBuf },

    /// The file is shorter or longer than its header says.
    #[error(
        "{}: {found} bytes long, but its header describes {expected}; the transfer was cut or garbled, fetch \
         the file again",
        file.display()
    )]
    WrongFileLength { file: PathBuf, expected: u64, found: u64 },

    /// The header does not fit in the file.
    #[error(
        "{}: claims a header of {header} bytes but is {found} bytes long; this is no safetensors file, or a \
         damaged one: fetch it again",
        file.display()
    )]
    HeaderLength { file: PathBuf, header: u64, found: u64 },

    /// The header is not what safetensors prescribes.
    #[error("{}: unreadable safetensors header ({reason}); fetch the file again", file.display())]
    BadHeader { file: PathBuf, reason: String },

    /// A tensor's place in the file overlaps its neighbour or leaves a hole.
    #[error(
        "{}: tensor {tensor} lies at bytes {begin}..{end} but should begin at {expected}; fetch the file \
         again",
        file.display()
    )]
    BadOffsets {
        file: PathBuf,
        tensor: String,
        begin: usize,
        end: usize,
        expected: usize,
    },

    /// A tensor's bytes are not what its type and shape need.
    #[error(
        "{}: tensor {tensor} ({dtype} {shape:?}) needs {expected} bytes but has {found}; fetch the file \
         again",
        file.display()
    )]
    WrongTensorSize {
        file: PathBuf,
        tensor: String,
        dtype: Dtype,
        shape: Vec<usize>,
        expected: u128,
        found: usize,
    },

    /// No file of the checkpoint holds the tensor.
    #[error(
        "{}: tensor {tensor} is in none of its files; check that config.json and the weights are of one \
         model",
        dir.display()
    )]
    MissingTensor { dir: PathBuf, tensor: String },

    /// A tensor has another shape than `config.json` calls for.
    #[error(
        "{}: tensor {tensor} has shape {found:?}, expected {expected:?}; check that config.json and the \
         weights are of one model",
        file.display()
    )]
    WrongShape {
        file: PathBuf,
        tensor: String,
        expected: Vec<usize>,
        found: Vec<usize>,
    },

    /// A weight that must be read is neither F32, F16 nor BF16.
    #[error(
        "{}: tensor {tensor} is stored as {dtype}, only F32, F16 and BF16 can be read; convert the \
         checkpoint to one of these",
        file.display()
    )]
    UnsupportedDtype {
        file: PathBuf,
        tensor: String,
        dtype: Dtype,
    },

    /// A replaced tensor must have as many bytes as the one it replaces.
    #[error(
        "{}: {found} bytes were given for tensor {tensor}, which takes {expected}; report this as a bug",
        file.display()
    )]
    ReplacementSize {
        file: PathBuf,
        tensor: String,
        expected: usize,
        found: usize,
    },

    /// The output directory already holds something.
    #[error("{}: not empty (it holds {found}); give a new or empty directory", dir.display())]
    OutputNotEmpty { dir: PathBuf, found: String },

    /// The output directory holds a run that was not finished.
    #[error(
        "{}: holds an unfinished run; `prune` with `resume` goes on with one of its own, else delete the folder to start afresh",
        dir.display()
    )]
    UnfinishedRun { dir: PathBuf },

    /// Another process works on the output.
    #[error("{}: another process is working on this output; wait until it has ended, or give another directory", dir.display())]
    Locked { dir: PathBuf },

    /// The output is complete.
    #[error(
        "{}: this output is complete, there is nothing to resume; give another directory to prune once more",
        dir.display()
    )]
    NothingToResume { dir: PathBuf },

    /// A weight file of an unfinished output is not what it should be.
    #[error(
        "{}: the unfinished output cannot be continued ({reason}); delete {} and start again without `resume`",
        file.display(), dir.display()
    )]
    UnfinishedShard {
        file: PathBuf,
        dir: PathBuf,
        reason: String,
    },

    /// The output directory is the input directory.
    #[error("{}: this is the checkpoint being read; give another directory for the output", dir.display())]
    OutputIsSource { dir: PathBuf },

    /// No space, or no quota, is left.
    #[error(
        "{}: disk full; the output needs {needed} bytes: free that much or give a directory on another disk",
        path.display()
    )]
    DiskFull { path: PathBuf, needed: u64 },

    /// The file system or its permissions forbid writing.
    #[error("{}: not writable ({error}); give a directory you may write to", path.display())]
    NotWritable { path: PathBuf, error: io::Error },

    /// Any other failure of the operating system.
    #[error("{}: cannot {operation} ({error}); check the path and its permissions", path.display())]
    Io {
        path: PathBuf,
        operation: &'static str,
        error: io::Error,
    },
}

impl CheckpointError {
    /// A failure to read or list `path`.
    pub(crate) fn io(path: &Path, operation: &'static str, error: io::Error) -> Self {
        CheckpointError::Io {
            path: path.into(),
            operation,
            error,
        }
    }

    /// A failure to write `path`, part of an output of `needed` bytes in all.
    pub(crate) fn write(path: &Path, needed: u64, error: io::Error) -> Self {
        let path = path.into();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => CheckpointError::DiskFull { path, needed },
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => CheckpointError::NotWritable { path, error },
            _ => CheckpointError::Io {
                path,
                operation: "write",
                error,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Few of these can be brought about on every machine, so the kinds are taken as given.
    #[test]
    fn failures_to_write_are_told_apart() {
        let write = |kind: ErrorKind| CheckpointError::write(Path::new("out/x.tmp"), 77, kind.into());
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
            let error = write(kind);
            assert!(matches!(error, CheckpointError::DiskFull { .. }) && error.to_string().contains("77 bytes"));
        }
        for kind in [ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied] {
            assert!(matches!(write(kind), CheckpointError::NotWritable { .. }));
        }
        assert!(matches!(write(ErrorKind::Other), CheckpointError::Io { .. }));
    }
}
