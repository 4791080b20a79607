//! Finding the files of a checkpoint and checking that they agree with one another.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::{Component, Path};

use serde::Deserialize;

use super::error::CheckpointError;
use super::shards::Shard;
use super::{Checkpoint, HfConfig};

pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// Endings of weight files in formats this tool does not read.
const OTHER_FORMATS: [&str; 6] = ["bin", "pt", "pth", "gguf", "h5", "msgpack"];

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens the checkpoint in `dir`: `config.json`, and `model.safetensors` or else `model.safetensors.index.json`
    /// with its shards.
    ///
    /// Maps the weight files and reads only their headers; every header is checked against its file, and the index
    /// against the headers. The files must not be changed by anyone as long as the checkpoint is open: what is read
    /// then is unspecified, and a file cut short ends the process.
    pub fn open(dir: &Path) -> Result<Self, CheckpointError> {
        match std::fs::metadata(dir) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(CheckpointError::NotADirectory { dir: dir.into() }),
            Err(e) if e.kind() == ErrorKind::NotFound => return Err(CheckpointError::NoDirectory { dir: dir.into() }),
            Err(error) => return Err(CheckpointError::io(dir, "open", error)),
        }
        let config = HfConfig::read(dir)?;
        // Both may be there; transformers takes the single file first, and so do we.
        let (shards, index) = if dir.join(SINGLE).exists() {
            (vec![Shard::open(dir, SINGLE)?], None)
        } else if dir.join(INDEX).exists() {
            let (shards, index) = open_shards(dir)?;
            (shards, Some(index))
        } else {
            return Err(no_weights(dir));
        };
        let places = places(&shards)?;
        Ok(Checkpoint {
            dir: dir.into(),
            config,
            shards,
            index,
            places,
        })
    }
}

/// Opens every shard the index names, in the order of their names; also returns the index as it stands in the file.
fn open_shards(dir: &Path) -> Result<(Vec<Shard>, Vec<u8>), CheckpointError> {
    let file = dir.join(INDEX);
    let text = std::fs::read(&file).map_err(|e| CheckpointError::io(&file, "read", e))?;
    let bad = |reason: String| CheckpointError::BadIndex {
        file: file.clone(),
        reason,
    };
    let index: Index = serde_json::from_slice(&text).map_err(|e| bad(format!("not a shard index ({e})")))?;
    let mut tensors_of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, shard) in &index.weight_map {
        tensors_of.entry(shard).or_default().push(tensor);
    }
    if tensors_of.is_empty() {
        return Err(bad("weight_map is empty".into()));
    }

    let mut shards = Vec::new();
    for (name, tensors) in tensors_of {
        if !is_plain_name(name) {
            return Err(bad(format!("shard \"{name}\" is not a plain file name")));
        }
        let path = dir.join(name);
        if !path.exists() {
            return Err(CheckpointError::MissingShard {
                index: file,
                shard: path,
                tensor: tensors[0].into(),
            });
        }
        let shard = Shard::open(dir, name)?;
        let present: std::collections::HashSet<&str> = shard.entries.iter().map(|e| e.name.as_str()).collect();
        if let Some(&lost) = tensors.iter().find(|t| !present.contains(**t)) {
            return Err(CheckpointError::NotInShard {
                index: file,
                shard: path,
                tensor: lost.into(),
            });
        }
        shards.push(shard);
    }
    Ok((shards, text))
}

/// A name that cannot lead out of the checkpoint's directory.
pub(super) fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}

fn places(shards: &[Shard]) -> Result<HashMap<String, (usize, usize)>, CheckpointError> {
    let mut places = HashMap::new();
    for (s, shard) in shards.iter().enumerate() {
        for (e, entry) in shard.entries.iter().enumerate() {
            if let Some((other, _)) = places.insert(entry.name.clone(), (s, e)) {
                let first: &Shard = &shards[other];
                let (tensor, first, second) = (entry.name.clone(), first.path.clone(), shard.path.clone());
                return Err(CheckpointError::DuplicateTensor { tensor, first, second });
            }
        }
    }
    Ok(places)
}

fn no_weights(dir: &Path) -> CheckpointError {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let foreign = entries
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|name| {
            Path::new(name)
                .extension()
                .and_then(|e| e.to_str())
                .is_some_and(|e| OTHER_FORMATS.contains(&e))
        });
    match foreign.min() {
        Some(found) => CheckpointError::OtherFormat { dir: dir.into(), found },
        None => CheckpointError::NoWeights { dir: dir.into() },
    }
}
