//! Which files beside the weights belong to a checkpoint, and how they reach the output.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Checkpoint;
use super::error::CheckpointError;
use super::open::is_plain_name;

const README: &str = "README.md";

/// Folder of chat templates beside the default one.
pub(super) const TEMPLATES: &str = "additional_chat_templates";

/// Stands between a new model card and that of the source.
const JOINT: &str = "\n## Card of the model this one was made from\n\n";

/// Weights in any format, and what training leaves behind: stale as soon as the weights change.
const WEIGHT_FORMATS: [&str; 17] = [
    "safetensors",
    "bin",
    "pt",
    "pth",
    "ckpt",
    "gguf",
    "ggml",
    "onnx",
    "onnx_data",
    "h5",
    "msgpack",
    "ot",
    "npz",
    "pkl",
    "pickle",
    "tflite",
    "tmp",
];

/// No side file is longer than this; the largest tokenizers have some 40 MB.
const MAX_BYTES: u64 = 256 << 20;

/// Where the contents of a side file come from.
pub(super) enum Contents<'a> {
    /// Copied byte for byte.
    File(PathBuf),
    /// Given by the caller.
    Bytes(&'a [u8]),
    /// Put together here.
    Joined(Vec<u8>),
}

impl Contents<'_> {
    /// Fills the new `file` at `path` and waits until it is on the disk. `needed`: bytes of the whole output.
    pub(super) fn write(&self, mut file: File, path: &Path, needed: u64) -> Result<(), CheckpointError> {
        // Not `fs::copy`, which would also copy the permissions of a read-only cache.
        let mut from = match self {
            Contents::File(source) => Some(File::open(source).map_err(|e| CheckpointError::io(source, "open", e))?),
            _ => None,
        };
        let mut write = || {
            match self {
                Contents::File(_) => from
                    .as_mut()
                    .map(|from| io::copy(from, &mut file))
                    .transpose()
                    .map(drop)?,
                Contents::Bytes(bytes) => file.write_all(bytes)?,
                Contents::Joined(bytes) => file.write_all(bytes)?,
            }
            file.sync_all()
        };
        write().map_err(|e| CheckpointError::write(path, needed, e))
    }
}

/// The side files of `source` and the caller's own, by name; see [`super::CheckpointWriter::finish`] for the rules.
pub(super) fn collect<'a>(
    source: &Checkpoint,
    extra: &[(&str, &'a [u8])],
) -> Result<BTreeMap<String, Contents<'a>>, CheckpointError> {
    let mut files = BTreeMap::new();
    let listing = |e| CheckpointError::io(&source.dir, "list", e);
    for entry in fs::read_dir(&source.dir).map_err(listing)? {
        let entry = entry.map_err(listing)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // `metadata` follows links: a hub cache consists of them.
        let belongs = fs::metadata(entry.path()).is_ok_and(|found| found.is_file() && found.len() <= MAX_BYTES);
        if belongs && is_side_file(&name, source.config.has_own_code()) {
            files.insert(name, Contents::File(entry.path()));
        }
    }
    for name in templates(source)? {
        files.insert(
            format!("{TEMPLATES}/{name}"),
            Contents::File(source.dir.join(TEMPLATES).join(name)),
        );
    }
    for &(name, bytes) in extra {
        assert!(
            is_plain_name(name) && name != "config.json",
            "{name} cannot be an extra file"
        );
        let contents = match files.get(name) {
            Some(Contents::File(card)) if name == README => {
                let card = fs::read(card).map_err(|e| CheckpointError::io(card, "read", e))?;
                Contents::Joined([bytes, JOINT.as_bytes(), without_front_matter(&card)].concat())
            }
            _ => Contents::Bytes(bytes),
        };
        files.insert(name.into(), contents);
    }
    Ok(files)
}

/// Files of the folder of chat templates, the only folder that belongs to a checkpoint.
fn templates(source: &Checkpoint) -> Result<Vec<String>, CheckpointError> {
    let folder = source.dir.join(TEMPLATES);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let listing = |e| CheckpointError::io(&folder, "list", e);
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).map_err(listing)? {
        let entry = entry.map_err(listing)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let small = fs::metadata(entry.path()).is_ok_and(|found| found.is_file() && found.len() <= MAX_BYTES);
        if small && name.ends_with(".jinja") {
            names.push(name);
        }
    }
    Ok(names)
}

fn is_side_file(name: &str, has_own_code: bool) -> bool {
    let extension = Path::new(name).extension().and_then(|e| e.to_str()).unwrap_or_default();
    let bookkeeping = name.starts_with('.') || name.ends_with(".index.json") || name == "pruning_report.json";
    let weights = WEIGHT_FORMATS.contains(&extension) || name.starts_with("consolidated");
    !bookkeeping && !weights && (extension != "py" || has_own_code)
}

/// A model card without the YAML block at its head, of which a card can have only one.
fn without_front_matter(card: &[u8]) -> &[u8] {
    let Some(body) = card.strip_prefix(b"---\n") else {
        return card;
    };
    match body.windows(5).position(|five| five == b"\n---\n") {
        Some(end) => &body[end + 5..],
        None => card,
    }
}
