//! What a written checkpoint has otherwise than the one it is made from: shapes, tensors left out, `config.json`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::shards::{Entry, LENGTH_BYTES, Shard};

/// How a copy differs from its source, beside the contents of tensors. Empty, the copy has the layout of the source.
///
/// Types, the order of tensors and the shard each is in stay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reshaping {
    /// New shapes by tensor name; each of these must be put.
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// Tensors that are left out.
    pub dropped: BTreeSet<String>,
    /// New names by old ones. A tensor is put by its old name.
    pub renamed: BTreeMap<String, String>,
    /// The new `config.json`.
    pub config: Option<Vec<u8>>,
}

/// Where a tensor of the source lies in the output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Byte of the file.
    pub(super) start: u64,
    pub(super) bytes: usize,
    /// Whether it has another shape than in the source, and so no contents unless put.
    pub(super) reshaped: bool,
}

/// A weight file of the output, planned.
pub(super) struct ShardLayout {
    pub(super) header: Vec<u8>,
    pub(super) length: u64,
    /// One per entry of the source; `None` where it is left out.
    pub(super) slots: Vec<Option<Slot>>,
}

impl Reshaping {
    fn bytes(&self, entry: &Entry) -> usize {
        match self.shapes.get(&entry.name) {
            Some(shape) => shape.iter().product::<usize>() * entry.dtype.bitsize() / 8,
            None => entry.range.len(),
        }
    }

    fn concerns(&self, shard: &Shard) -> bool {
        let touched = |entry: &Entry| {
            let name = &entry.name;
            self.shapes.contains_key(name) || self.dropped.contains(name) || self.renamed.contains_key(name)
        };
        shard.entries.iter().any(touched)
    }

    /// The output's file for a shard of the source.
    pub(super) fn layout(&self, shard: &Shard) -> ShardLayout {
        let header = if self.concerns(shard) {
            self.header(shard)
        } else {
            header_with_format(shard)
        };
        let mut next = (LENGTH_BYTES + header.len()) as u64;
        let slots = shard.entries.iter().map(|entry| {
            if self.dropped.contains(&entry.name) {
                return None;
            }
            let slot = Slot {
                start: next,
                bytes: self.bytes(entry),
                reshaped: self.shapes.contains_key(&entry.name),
            };
            next += slot.bytes as u64;
            Some(slot)
        });
        let slots = slots.collect();
        ShardLayout {
            header,
            length: next,
            slots,
        }
    }

    fn name<'n>(&'n self, old: &'n str) -> &'n str {
        self.renamed.get(old).map_or(old, String::as_str)
    }

    /// The header with the new names, shapes and offsets.
    fn header(&self, shard: &Shard) -> Vec<u8> {
        let mut old = parsed(shard);
        let mut header = Map::new();
        if let Some(metadata) = old.remove("__metadata__") {
            header.insert("__metadata__".into(), metadata);
        }
        let mut start = 0;
        for entry in shard.entries.iter().filter(|entry| !self.dropped.contains(&entry.name)) {
            let bytes = self.bytes(entry);
            let mut info = old[&entry.name].take();
            if let Some(shape) = self.shapes.get(&entry.name) {
                info["shape"] = json!(shape);
            }
            info["data_offsets"] = json!([start, start + bytes]);
            start += bytes;
            header.insert(self.name(&entry.name).into(), info);
        }
        with_format(header)
    }

    /// The index of the shards, if it must be another: without what is left out, with the new totals.
    pub(super) fn index(&self, index: &[u8], shards: &[Shard]) -> Option<Vec<u8>> {
        if self.shapes.is_empty() && self.dropped.is_empty() && self.renamed.is_empty() {
            return None;
        }
        let mut index: Value = serde_json::from_slice(index).expect("checked when it was opened");
        if let Some(map) = index["weight_map"].as_object_mut() {
            let left = std::mem::take(map)
                .into_iter()
                .filter(|(name, _)| !self.dropped.contains(name));
            *map = left.map(|(name, file)| (self.name(&name).to_string(), file)).collect();
        }
        let entries = || shards.iter().flat_map(|shard| &shard.entries);
        let left = || entries().filter(|entry| !self.dropped.contains(&entry.name));
        if !index["metadata"].is_object() {
            index["metadata"] = json!({});
        }
        index["metadata"]["total_size"] = json!(left().map(|entry| self.bytes(entry)).sum::<usize>());
        if index["metadata"].get("total_parameters").is_some() {
            let elements = |entry: &Entry| self.bytes(entry) * 8 / entry.dtype.bitsize();
            index["metadata"]["total_parameters"] = json!(left().map(elements).sum::<usize>());
        }
        let mut text = serde_json::to_vec_pretty(&index).expect("plain data");
        text.push(b'\n');
        Some(text)
    }
}

fn parsed(shard: &Shard) -> Map<String, Value> {
    serde_json::from_slice(shard.header()).expect("checked when it was opened")
}

/// The source's header, byte for byte if it names a framework (transformers insists) and ends on 8 bytes (so that
/// readers find aligned tensors); otherwise mended in these two points.
fn header_with_format(shard: &Shard) -> Vec<u8> {
    let header = parsed(shard);
    let format = header.get("__metadata__").and_then(|m| m.get("format"));
    if format.is_some() && shard.header().len().is_multiple_of(LENGTH_BYTES) {
        return shard.header().to_vec();
    }
    with_format(header)
}

/// A header as text that names a framework and ends on 8 bytes.
fn with_format(mut header: Map<String, Value>) -> Vec<u8> {
    if header.get("__metadata__").and_then(|m| m.get("format")).is_none() {
        let metadata = header.entry("__metadata__").or_insert(Value::Null);
        let mut entries = metadata.as_object().cloned().unwrap_or_default();
        entries.insert("format".into(), "pt".into());
        *metadata = entries.into();
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(LENGTH_BYTES), b' ');
    text
}
