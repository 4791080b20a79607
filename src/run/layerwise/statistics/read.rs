//! Saved sums, checked against the model when they are opened, and against their checksum layer by layer.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{LayerEntry, MANIFEST, Manifest, VERSION, tensor};
use crate::checkpoint::Checkpoint;
use crate::gpu::Gpu;
use crate::model::{ActivationSite, Spec};
use crate::prune::{GramStatistics, InputSums};
use crate::run::{RunError, StatisticsError};
use crate::tensor::PanelMatrix;

/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// A folder of saved statistics that fit a model.
#[derive(Clone, Debug)]
pub struct Statistics {
    dir: PathBuf,
    /// What was saved.
    pub manifest: Manifest,
}

impl Statistics {
    /// Opens what `secateur calibrate` saved in `dir`. Reads no sums yet.
    pub fn open(dir: &Path) -> Result<Self, StatisticsError> {
        let file = dir.join(MANIFEST);
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Err(StatisticsError::Unfinished { file });
            }
            Err(e) => return Err(StatisticsError::io(&file, e)),
        };
        let damaged = |reason: String| StatisticsError::Damaged {
            file: file.clone(),
            dir: dir.into(),
            reason,
        };
        let value: Value = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        match value["version"].as_u64() {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) => return Err(StatisticsError::Version { file, version }),
            None => return Err(damaged("it has no version".into())),
        }
        let manifest = serde_json::from_value(value).map_err(|e| damaged(e.to_string()))?;
        Ok(Statistics {
            dir: dir.into(),
            manifest,
        })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Fails unless these are sums of `checkpoint`'s first `layers` layers and every file is there in full length.
    pub fn check(&self, checkpoint: &Checkpoint, spec: &Spec, layers: usize) -> Result<(), RunError> {
        let file = self.dir.join(MANIFEST);
        if self.manifest.model_fingerprint != checkpoint.fingerprint() {
            let (made_from, model) = (self.manifest.model.clone(), checkpoint.dir().into());
            return Err(StatisticsError::OtherModel { file, made_from, model }.into());
        }
        if self.manifest.family_fingerprint != spec.fingerprint() {
            let made_by = self.manifest.family.clone();
            return Err(StatisticsError::OtherFamily { file, made_by }.into());
        }
        for layer in 0..layers {
            let entry = self.entry(layer, layers)?;
            let found: Vec<_> = entry.groups.iter().map(|g| (g.input.clone(), g.width)).collect();
            let groups = spec.groups(layer)?;
            let wanted: Vec<_> = groups.iter().map(|g| (g.input.name(), spec.width(g.input))).collect();
            if let Some(i) = (0..found.len().max(wanted.len())).find(|i| found.get(*i) != wanted.get(*i)) {
                let name = |group: Option<&(String, usize)>| match group {
                    Some((input, width)) => format!("{width} inputs at `{input}`"),
                    None => format!("none after {i} groups"),
                };
                let (found, wanted) = (name(found.get(i)), name(wanted.get(i)));
                return Err(StatisticsError::OtherShape {
                    file,
                    layer,
                    found,
                    wanted,
                }
                .into());
            }
            self.length(entry)?;
        }
        Ok(())
    }

    fn entry(&self, layer: usize, wanted: usize) -> Result<&LayerEntry, StatisticsError> {
        let found = self.manifest.layers.iter().find(|entry| entry.layer == layer);
        found.ok_or_else(|| StatisticsError::MissingLayer {
            file: self.dir.join(MANIFEST),
            layer,
            wanted,
        })
    }

    fn path(&self, entry: &LayerEntry) -> PathBuf {
        // A name is only looked for in the folder itself.
        self.dir.join(Path::new(&entry.file).file_name().unwrap_or_default())
    }

    fn damaged(&self, entry: &LayerEntry, reason: impl Into<String>) -> StatisticsError {
        StatisticsError::Damaged {
            file: self.path(entry),
            dir: self.dir.clone(),
            reason: reason.into(),
        }
    }

    fn length(&self, entry: &LayerEntry) -> Result<(), StatisticsError> {
        let path = self.path(entry);
        match std::fs::metadata(&path) {
            Ok(found) if found.len() == entry.bytes => Ok(()),
            Ok(found) => {
                let reason = format!("{} bytes long instead of {}", found.len(), entry.bytes);
                Err(self.damaged(entry, reason))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Err(self.damaged(entry, "it is missing")),
            Err(e) => Err(StatisticsError::io(&path, e)),
        }
    }

    /// Opens a layer's file and reads all of it once, to see that it is what was written.
    pub(in crate::run) fn layer(&self, layer: usize) -> Result<LayerStatistics<'_>, StatisticsError> {
        let entry = self.entry(layer, layer + 1)?;
        let path = self.path(entry);
        let failed = |e| StatisticsError::io(&path, e);
        self.length(entry)?;
        let mut file = File::open(&path).map_err(failed)?;
        let (mut hasher, mut piece) = (blake3::Hasher::new(), vec![0; PIECE]);
        loop {
            let read = file.read(&mut piece).map_err(failed)?;
            if read == 0 {
                break;
            }
            hasher.update(&piece[..read]);
        }
        if hasher.finalize().to_hex().as_str() != entry.blake3 {
            return Err(self.damaged(entry, "its checksum is another"));
        }
        let mut size = [0; 8];
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        file.read_exact(&mut size).map_err(failed)?;
        let mut header = vec![0; u64::from_le_bytes(size).min(entry.bytes) as usize];
        file.read_exact(&mut header).map_err(failed)?;
        let start = (size.len() + header.len()) as u64;
        let header = serde_json::from_slice(&header).map_err(|e| self.damaged(entry, e.to_string()))?;
        Ok(LayerStatistics {
            statistics: self,
            entry,
            file,
            header,
            start,
        })
    }
}

/// The sums of one layer.
pub(in crate::run) struct LayerStatistics<'a> {
    statistics: &'a Statistics,
    entry: &'a LayerEntry,
    file: File,
    header: Value,
    /// First byte of the data.
    start: u64,
}

impl LayerStatistics<'_> {
    /// The sums at `input`, on the device.
    pub(in crate::run) fn sums(&mut self, gpu: &Gpu, input: ActivationSite) -> Result<GramStatistics, RunError> {
        let group = self.entry.groups.iter().find(|group| group.input == input.name());
        let group = group.expect("checked when the statistics were opened");
        let n = group.width;
        let info = &self.header[tensor(&group.input)];
        let offset = match (info["dtype"].as_str(), &info["data_offsets"][0]) {
            (Some("F32"), offset) if info["shape"] == serde_json::json!([n, n]) => offset.as_u64(),
            _ => None,
        };
        let Some(offset) = offset else {
            let reason = format!("it has no `{}` of shape [{n}, {n}]", tensor(&group.input));
            return Err(self.statistics.damaged(self.entry, reason).into());
        };
        let (path, file, start) = (self.statistics.path(self.entry), &mut self.file, self.start);
        let gram = PanelMatrix::upload(gpu, "gram", n, |rows| {
            let mut values = vec![0.0_f32; rows.len() * n];
            let mut read = || {
                file.seek(SeekFrom::Start(start + offset + 4 * (rows.start * n) as u64))?;
                file.read_exact(bytemuck::cast_slice_mut(&mut values))
            };
            read().map_err(|e| StatisticsError::io(&path, e))?;
            // Nothing to do where numbers are little-endian already.
            values
                .iter_mut()
                .for_each(|v| *v = f32::from_bits(u32::from_le(v.to_bits())));
            Ok::<_, RunError>(values)
        })?;
        Ok(GramStatistics {
            inputs: InputSums::Gram(gram),
            drift: None,
            tokens: group.tokens,
        })
    }
}
