//! Checkpoints on disk in the Hugging Face layout: `config.json` plus safetensors, in one file or in shards.
//!
//! This room knows files and bytes: where a tensor lies, of what type and shape it is, and how a checkpoint of the same
//! layout, or with other shapes, is written. It does not know what a tensor is for (`model`) nor how one is pruned (`prune`).
//!
//! Reading maps the files and touches only their headers, writing streams: neither ever holds a model in memory.
//! Start at [`Checkpoint`], then [`CheckpointWriter`].

mod durable;
mod encode;
mod error;
mod folder;
mod hf_config;
mod lock;
mod open;
mod out;
mod reshape;
mod shards;
mod side_files;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::Dtype;

use crate::tensor::DType;
use shards::{Entry, Shard};

pub(crate) use durable::{Replacement, sync_folder};
pub(crate) use encode::{Encoded, encode};
pub use error::CheckpointError;
pub(crate) use folder::NewFolder;
pub use hf_config::HfConfig;
pub use lock::OutputLock;
pub use reshape::Reshaping;
pub use writer::CheckpointWriter;

/// Folder within an output that holds the state of an unfinished run; gone once the output is complete.
pub(crate) const STATE_FOLDER: &str = ".secateur";
/// The file in it that makes an output one that can be resumed.
pub(crate) const STATE_FILE: &str = "state.json";
/// Bytes at the start of each tensor that enter [`Checkpoint::fingerprint`].
const FINGERPRINT_BYTES: usize = 64;

/// A checkpoint opened for reading.
pub struct Checkpoint {
    dir: PathBuf,
    config: HfConfig,
    shards: Vec<Shard>,
    /// Contents of `model.safetensors.index.json`, if the checkpoint has shards.
    index: Option<Vec<u8>>,
    /// Tensor name to shard and entry.
    places: HashMap<String, (usize, usize)>,
}

/// One tensor of a checkpoint; its bytes are still in the file until read.
#[derive(Clone, Debug)]
pub struct TensorView<'a> {
    /// Name in the file.
    pub name: &'a str,
    /// Element type in the file.
    pub dtype: DType,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Little-endian elements, row-major, at no particular alignment.
    pub bytes: &'a [u8],
    /// The file that holds the tensor.
    pub file: &'a Path,
}

impl TensorView<'_> {
    /// The elements as f32, row-major; exact for every type.
    pub fn to_f32(&self) -> Vec<f32> {
        self.dtype.decode(self.bytes)
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }
}

impl Checkpoint {
    /// The directory it was opened from.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its `config.json`.
    pub fn config(&self) -> &HfConfig {
        &self.config
    }

    /// The tensor called `name`, of any shape; fails if it is absent or neither F32, F16 nor BF16.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>, CheckpointError> {
        let (shard, entry) = self.locate(name)?;
        let dtype = match entry.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            dtype => {
                let (file, tensor) = (shard.path.clone(), name.to_owned());
                return Err(CheckpointError::UnsupportedDtype { file, tensor, dtype });
            }
        };
        let (bytes, shape) = (shard.bytes(entry.range.clone()), entry.shape.clone());
        Ok(TensorView {
            name: &entry.name,
            dtype,
            shape,
            bytes,
            file: &shard.path,
        })
    }

    /// The tensor called `name`; fails as [`Checkpoint::tensor`] does, and if its shape is not `shape`.
    pub fn tensor_of_shape(&self, name: &str, shape: &[usize]) -> Result<TensorView<'_>, CheckpointError> {
        let view = self.tensor(name)?;
        if view.shape == shape {
            return Ok(view);
        }
        let (file, tensor, expected) = (view.file.to_path_buf(), name.to_owned(), shape.to_vec());
        Err(CheckpointError::WrongShape {
            file,
            tensor,
            expected,
            found: view.shape,
        })
    }

    /// Whether any file holds a tensor called `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// All tensor names: shards by file name, tensors in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries().map(|entry| entry.name.as_str())
    }

    /// Lets the operating system take back the memory of this tensor's pages; they are read again when next touched.
    ///
    /// Keeps resident memory small after a tensor has been used. Does nothing for an unknown name or off Unix.
    pub fn release(&self, name: &str) {
        if let Ok((shard, entry)) = self.locate(name) {
            shard.release(entry.range.clone());
        }
    }

    /// Asks the operating system to read these tensors ahead, in the background; returns at once.
    ///
    /// Unknown names are passed over, failures cost only time, and off Unix it does nothing.
    pub fn prefetch<N: AsRef<str>>(&self, names: impl IntoIterator<Item = N>) {
        let mut ranges = vec![Vec::new(); self.shards.len()];
        for name in names {
            if let Some(&(shard, entry)) = self.places.get(name.as_ref()) {
                ranges[shard].push(self.shards[shard].entries[entry].range.clone());
            }
        }
        for (shard, ranges) in self.shards.iter().zip(ranges).filter(|(_, ranges)| !ranges.is_empty()) {
            shard.prefetch(ranges);
        }
    }

    /// Elements of all tensors.
    pub fn parameters(&self) -> usize {
        self.entries().map(|entry| entry.shape.iter().product::<usize>()).sum()
    }

    /// Number of weight files.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Bytes of all tensors.
    pub fn total_bytes(&self) -> u64 {
        self.entries().map(|entry| entry.range.len() as u64).sum()
    }

    /// Bytes of all weight files.
    pub(crate) fn weight_bytes(&self) -> u64 {
        self.shards.iter().map(Shard::len).sum()
    }

    /// Bytes of the largest tensor as stored.
    pub fn largest_tensor_bytes(&self) -> u64 {
        self.entries().map(|entry| entry.range.len() as u64).max().unwrap_or(0)
    }

    /// BLAKE3, as hex, of `config.json`, the headers of all shards and the first 64 bytes of each tensor.
    ///
    /// A cheap identity for reports and for resuming: it tells a model from its fine-tunes without reading every
    /// weight, and is no proof that two checkpoints agree in every byte. Names of directories do not enter.
    pub fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(self.config.text());
        for shard in &self.shards {
            part(shard.file_name.as_bytes());
            part(shard.header());
            for (i, entry) in shard.entries.iter().enumerate() {
                let start = entry.range.start;
                part(shard.bytes(start..entry.range.end.min(start + FINGERPRINT_BYTES)));
                // The kernel maps far more around each touched page than was read.
                if i % 8 == 0 {
                    shard.release(0..shard.len() as usize);
                }
            }
        }
        self.release_all();
        hasher.finalize().to_hex().to_string()
    }

    /// Lets the system take back every page of the mappings, as [`Checkpoint::release`] does for one tensor.
    pub fn release_all(&self) {
        for shard in &self.shards {
            shard.release(0..shard.len() as usize);
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.shards.iter().flat_map(|shard| &shard.entries)
    }

    fn locate(&self, name: &str) -> Result<(&Shard, &Entry), CheckpointError> {
        let missing = || CheckpointError::MissingTensor {
            dir: self.dir.clone(),
            tensor: name.into(),
        };
        let &(shard, entry) = self.places.get(name).ok_or_else(missing)?;
        Ok((&self.shards[shard], &self.shards[shard].entries[entry]))
    }
}
