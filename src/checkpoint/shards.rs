//! One safetensors file: mapped into memory, its header read and checked, its tensors' bytes not touched.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, TensorInfo};
use serde_json::{Map, Value};

use super::error::CheckpointError;

/// Bytes in front of the JSON header: its length as a little-endian u64.
pub(super) const LENGTH_BYTES: usize = 8;

/// Where one tensor lies in its file.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Bytes, counted from the start of the file.
    pub(super) range: Range<usize>,
}

/// One safetensors file.
pub(super) struct Shard {
    pub(super) file_name: String,
    pub(super) path: PathBuf,
    /// First byte after the header, counted from the start of the file.
    pub(super) data_start: usize,
    /// In the order of the file.
    pub(super) entries: Vec<Entry>,
    map: Arc<Mmap>,
}

impl Shard {
    /// Maps the file and checks its header against its length.
    pub(super) fn open(dir: &Path, file_name: &str) -> Result<Self, CheckpointError> {
        let path = dir.join(file_name);
        let file = File::open(&path).map_err(|e| CheckpointError::io(&path, "open", e))?;
        // SAFETY: the mapping is read-only. That no other process shortens or rewrites the file meanwhile cannot be
        // enforced; `Checkpoint::open` tells the caller.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| CheckpointError::io(&path, "map into memory", e))?;
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|e| diagnose(&path, &map, &e.to_string()))?;

        let data_start = LENGTH_BYTES + header;
        let place = |(name, info): (String, &TensorInfo)| Entry {
            name,
            dtype: info.dtype,
            shape: info.shape.clone(),
            range: data_start + info.data_offsets.0..data_start + info.data_offsets.1,
        };
        let mut entries: Vec<Entry> = metadata.tensors().into_iter().map(place).collect();
        // The name decides between empty tensors, which all lie at one place.
        entries.sort_by(|a, b| (a.range.start, a.range.end, &a.name).cmp(&(b.range.start, b.range.end, &b.name)));
        Ok(Shard {
            file_name: file_name.into(),
            path,
            data_start,
            entries,
            map: Arc::new(map),
        })
    }

    /// The JSON header with its padding.
    pub(super) fn header(&self) -> &[u8] {
        &self.map[LENGTH_BYTES..self.data_start]
    }

    /// Length of the whole file in bytes.
    pub(super) fn len(&self) -> u64 {
        self.map.len() as u64
    }

    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.map[range]
    }

    /// Lets the operating system take back the pages of `range`; they are read from the file again when next touched.
    pub(super) fn release(&self, range: Range<usize>) {
        /// Linux maps so much around a page that is touched: ends of neighbours, which nobody would give back otherwise.
        const AROUND: usize = 64 << 10;
        if range.is_empty() {
            return;
        }
        let range = range.start.saturating_sub(AROUND)..(range.end + AROUND).min(self.map.len());
        #[cfg(unix)]
        {
            use memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: the mapping is shared, read-only and backed by the file, so a page dropped here comes back with
            // the same bytes, also under a live reference or when the range cuts a page shared with a neighbour.
            // A refusal costs only memory, hence no error.
            let _ = unsafe { self.map.unchecked_advise_range(DontNeed, range.start, range.len()) };
        }
    }
}

#[cfg(unix)]
impl Shard {
    /// Asks for the pages of `ranges` ahead. On a thread of its own: asking blocks while the disk's queue is full.
    pub(super) fn prefetch(&self, ranges: Vec<Range<usize>>) {
        /// Linux reads no more than its read-ahead window per request, 128 KiB at least, and drops the rest silently.
        const PIECE: usize = 128 << 10;
        let map = self.map.clone();
        let work = move || {
            for range in ranges {
                for start in range.clone().step_by(PIECE) {
                    let _ = map.advise_range(memmap2::Advice::WillNeed, start, PIECE.min(range.end - start));
                }
            }
        };
        // Without a thread there is no prefetch, which costs only time.
        let _ = std::thread::Builder::new().name("prefetch".into()).spawn(work);
    }
}

#[cfg(not(unix))]
impl Shard {
    /// Does nothing: only Unix can be asked.
    pub(super) fn prefetch(&self, _ranges: Vec<Range<usize>>) {}
}

/// Finds out what exactly the safetensors crate disliked: its errors name neither file nor, mostly, tensor or sizes.
fn diagnose(path: &Path, bytes: &[u8], reason: &str) -> CheckpointError {
    let found = bytes.len() as u64;
    if bytes.starts_with(b"version https://git-lfs") {
        return CheckpointError::LfsPointer { file: path.into() };
    }
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return CheckpointError::BadHeader {
            file: path.into(),
            reason: format!("the file ends after {found} bytes"),
        };
    };
    let header = u64::from_le_bytes(*length);
    let Some(json) = usize::try_from(header).ok().and_then(|n| rest.get(..n)) else {
        return CheckpointError::HeaderLength {
            file: path.into(),
            header,
            found,
        };
    };
    let end = match serde_json::from_slice(json) {
        Ok(tensors) => first_bad_tensor(path, tensors),
        Err(error) => Err(CheckpointError::BadHeader {
            file: path.into(),
            reason: error.to_string(),
        }),
    };
    match end.map(|end| (LENGTH_BYTES as u64 + header).saturating_add(end as u64)) {
        Err(error) => error,
        Ok(expected) if expected != found => CheckpointError::WrongFileLength {
            file: path.into(),
            expected,
            found,
        },
        Ok(_) => CheckpointError::BadHeader {
            file: path.into(),
            reason: reason.into(),
        },
    }
}

/// Walks the tensors of a header in the order of their offsets; returns where the last one ends if all is well.
fn first_bad_tensor(path: &Path, tensors: Map<String, Value>) -> Result<usize, CheckpointError> {
    let file = || path.to_path_buf();
    let mut infos = Vec::new();
    for (tensor, info) in tensors.into_iter().filter(|(name, _)| name != "__metadata__") {
        let info: TensorInfo = serde_json::from_value(info).map_err(|error| CheckpointError::BadHeader {
            file: file(),
            reason: format!("tensor {tensor}: {error}"),
        })?;
        infos.push((tensor, info));
    }
    infos.sort_by_key(|(_, info)| info.data_offsets);

    let mut expected = 0;
    for (tensor, info) in infos {
        let (begin, end) = info.data_offsets;
        if begin != expected || end < begin {
            return Err(CheckpointError::BadOffsets {
                file: file(),
                tensor,
                begin,
                end,
                expected,
            });
        }
        // u128 and saturation: a header may claim any shape.
        let elements = info
            .shape
            .iter()
            .fold(1u128, |product, &n| product.saturating_mul(n as u128));
        let size = elements.saturating_mul(info.dtype.bitsize() as u128).div_ceil(8);
        if size != (end - begin) as u128 {
            let (dtype, shape, found) = (info.dtype, info.shape, end - begin);
            return Err(CheckpointError::WrongTensorSize {
                file: file(),
                tensor,
                dtype,
                shape,
                expected: size,
                found,
            });
        }
        expected = end;
    }
    Ok(expected)
}
