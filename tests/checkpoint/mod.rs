//! `src/checkpoint`: what is read, what is refused, and that a written checkpoint is the one that was read.

mod config;
mod malformed;
mod reading;
mod reshaping;
mod resuming;
mod side_files;
mod writing;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use secateur::checkpoint::{Checkpoint, CheckpointError};
use tempfile::TempDir;

/// A tensor to be written: name, type, shape.
type Spec<'a> = (&'a str, Dtype, &'a [usize]);

const CONFIG: &str = "{\n  \"model_type\": \"llama\",\n  \"architectures\": [\"LlamaForCausalLM\"]\n}\n";

const TENSORS: [Spec; 4] = [
    ("model.embed.weight", Dtype::F32, &[6, 4]),
    ("model.0.q.weight", Dtype::F16, &[4, 4]),
    ("model.0.k.weight", Dtype::BF16, &[2, 4]),
    ("model.0.mask", Dtype::U8, &[3]),
];

/// Bytes that differ from tensor to tensor and from place to place.
fn filler(name: &str, len: usize) -> Vec<u8> {
    let start = name.bytes().fold(7u8, |sum, b| sum.wrapping_mul(31).wrapping_add(b));
    (0..len).map(|i| start.wrapping_add((i * 37) as u8)).collect()
}

fn write_shard(dir: &Path, file: &str, tensors: &[Spec], metadata: &[(&str, &str)]) {
    let data: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(name, dtype, shape)| filler(name, shape.iter().product::<usize>() * dtype.bitsize() / 8))
        .collect();
    let views = tensors.iter().zip(&data).map(|((name, dtype, shape), bytes)| {
        (
            name.to_string(),
            TensorView::new(*dtype, shape.to_vec(), bytes).unwrap(),
        )
    });
    let metadata: HashMap<String, String> = metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let metadata = (!metadata.is_empty()).then_some(metadata);
    serialize_to_file(views, metadata, &dir.join(file)).unwrap();
}

/// A directory with nothing but `config.json`.
fn directory() -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("config.json"), CONFIG).unwrap();
    dir
}

/// All of `TENSORS` in one file.
fn single() -> TempDir {
    let dir = directory();
    write_shard(dir.path(), "model.safetensors", &TENSORS, &[("format", "pt")]);
    dir
}

const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

/// `TENSORS` in two shards with an index.
fn sharded() -> TempDir {
    let dir = directory();
    write_shard(dir.path(), SHARDS[0], &TENSORS[..2], &[("format", "pt")]);
    write_shard(dir.path(), SHARDS[1], &TENSORS[2..], &[("format", "pt")]);
    let entry = |(i, (name, ..)): (usize, &Spec)| format!("\"{name}\": \"{}\"", SHARDS[i / 2]);
    let map: Vec<String> = TENSORS.iter().enumerate().map(entry).collect();
    write_index(dir.path(), &map.join(", "));
    dir
}

fn write_index(dir: &Path, weight_map: &str) {
    let text = format!("{{\"metadata\": {{\"total_size\": 147}}, \"weight_map\": {{{weight_map}}}}}");
    fs::write(dir.join("model.safetensors.index.json"), text).unwrap();
}

/// Writes `model.safetensors` by hand: any header, right or wrong.
fn write_raw(dir: &Path, header: &str, payload: &[u8]) {
    let length = (header.len() as u64).to_le_bytes();
    fs::write(
        dir.join("model.safetensors"),
        [&length, header.as_bytes(), payload].concat(),
    )
    .unwrap();
}

/// The error of opening `dir` and its message, which must name each of `culprits`.
fn open_error(dir: &Path, culprits: &[&str]) -> CheckpointError {
    named(Checkpoint::open(dir).err().expect("must be refused"), culprits)
}

fn named(error: CheckpointError, culprits: &[&str]) -> CheckpointError {
    let message = error.to_string();
    for culprit in culprits {
        assert!(message.contains(culprit), "{culprit:?} is not named in {message:?}");
    }
    error
}
