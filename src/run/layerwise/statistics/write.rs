//! Saving sums: a layer's file grows group by group, so that no more than a piece of one is in host memory.

use std::io::Write;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::{GroupEntry, LayerEntry, MANIFEST, Manifest, tensor};
use crate::checkpoint::Replacement;
use crate::gpu::{Gpu, Recording};
use crate::model::{Activations, Group, Spec};
use crate::prune::{GramStatistics, InputSums};
use crate::run::RunError;
use crate::run::folder::{RunFolder, Step};
use crate::run::layerwise::begin::layers_kept;
use crate::run::predict::layer::SAVED_PIECE;

/// Headers end on so many bytes, so that readers find aligned tensors.
const ALIGNMENT: usize = 8;

/// A folder of statistics being written; dropped before its first layer is kept it leaves nothing.
pub(in crate::run) struct StatisticsWriter {
    /// Dropped before the folder, which only goes if it is empty.
    layer: Option<LayerFile>,
    manifest: Manifest,
    folder: RunFolder,
}

/// The file of the layer being walked.
struct LayerFile {
    file: Replacement,
    path: PathBuf,
    hasher: blake3::Hasher,
    entry: LayerEntry,
}

impl LayerFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hasher.update(bytes);
        self.entry.bytes += bytes.len() as u64;
        self.file.file().write_all(bytes)
    }
}

impl StatisticsWriter {
    /// Fills `folder`; `manifest` has the layers that are there already.
    pub(in crate::run) fn new(folder: RunFolder, manifest: Manifest) -> Self {
        StatisticsWriter {
            layer: None,
            manifest,
            folder,
        }
    }

    /// Starts the file of the next layer, whose groups follow in this order.
    pub(in crate::run) fn begin(&mut self, spec: &Spec, layer: usize, groups: &[&Group]) -> Result<(), RunError> {
        let name = format!("layer-{layer:05}.safetensors");
        let path = self.folder.path().join(&name);
        let file = Replacement::create(&path).map_err(|e| self.folder.failed(&path, e))?;
        let groups = groups.iter().map(|group| GroupEntry {
            input: group.input.name(),
            width: spec.width(group.input),
            tokens: 0,
        });
        let entry = LayerEntry {
            layer,
            file: name,
            bytes: 0,
            blake3: String::new(),
            groups: groups.collect(),
        };
        let header = header(&entry.groups);
        let mut layer = LayerFile {
            file,
            path,
            hasher: blake3::Hasher::new(),
            entry,
        };
        let size = (header.len() as u64).to_le_bytes();
        let written = layer.write(&size).and_then(|()| layer.write(&header));
        written.map_err(|e| self.folder.failed(&layer.path, e))?;
        self.layer = Some(layer);
        Ok(())
    }

    /// Adds the sums of the group with this number.
    pub(in crate::run) fn put(&mut self, gpu: &Gpu, number: usize, sums: &GramStatistics) -> Result<(), RunError> {
        let layer = self.layer.as_mut().expect("a layer was begun");
        let entry = &mut layer.entry.groups[number];
        assert_eq!(entry.width, sums.inputs.width(), "width of {}", entry.input);
        entry.tokens = sums.tokens;
        let InputSums::Gram(gram) = &sums.inputs else {
            unreachable!("a Gram is captured to be saved")
        };
        for (_, panel) in gram.panels() {
            let height = (SAVED_PIECE / panel.cols()).max(1);
            for first in (0..panel.rows()).step_by(height) {
                let rows = panel.row_window(first, height.min(panel.rows() - first));
                let mut recording = Recording::new();
                let id = recording.read(&rows.slice());
                let values = gpu.submit(recording)?.floats(id)?;
                let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                layer.write(&bytes).map_err(|e| self.folder.failed(&layer.path, e))?;
            }
        }
        Ok(())
    }

    /// Gives the layer's file its name, on the disk, and keeps the step: `report` so far, and the streams that enter the next
    /// layer.
    pub(in crate::run) fn end(&mut self, report: Value, streams: &[&Activations]) -> Result<(), RunError> {
        let mut layer = self.layer.take().expect("a layer was begun");
        layer.entry.blake3 = layer.hasher.finalize().to_hex().to_string();
        layer.file.finish().map_err(|e| self.folder.failed(&layer.path, e))?;
        self.folder.note(&layer.path);
        self.manifest.layers.push(layer.entry);
        self.folder.commit(Step {
            done: self.manifest.layers.len(),
            report,
            found: serde_json::to_value(&self.manifest.layers).expect("plain data"),
            streams,
        })
    }

    /// Adds to an error how to go on, if a layer of `layers` is kept.
    pub(in crate::run) fn suspended(&self, error: RunError, layers: usize) -> RunError {
        self.folder.suspended(error, layers_kept(self.folder.done(), layers))
    }

    /// Writes the manifest: from now on there are statistics.
    pub(in crate::run) fn finish(mut self) -> Result<Manifest, RunError> {
        let path = self.folder.path().join(MANIFEST);
        let text = serde_json::to_vec_pretty(&self.manifest).expect("plain data");
        Replacement::write(&path, &text).map_err(|e| self.folder.failed(&path, e))?;
        self.folder.note(&path);
        self.folder.finish()?;
        Ok(self.manifest)
    }
}

/// A safetensors header of the groups' Grams, one behind the other.
fn header(groups: &[GroupEntry]) -> Vec<u8> {
    let mut entries = Map::new();
    entries.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut offset = 0;
    for GroupEntry { input, width, .. } in groups {
        let end = offset + 4 * width * width;
        let entry = json!({ "dtype": "F32", "shape": [width, width], "data_offsets": [offset, end] });
        entries.insert(tensor(input), entry);
        offset = end;
    }
    let mut text = Value::Object(entries).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(ALIGNMENT), b' ');
    text
}
