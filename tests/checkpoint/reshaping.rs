//! A checkpoint with other shapes: new headers, index and config, and every byte that did not change where it belongs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use secateur::checkpoint::{Checkpoint, CheckpointError as E, CheckpointWriter, Reshaping};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{TENSORS, filler, sharded, single};

/// q loses two rows, the mask goes.
fn reshaping() -> Reshaping {
    Reshaping {
        shapes: BTreeMap::from([("model.0.q.weight".to_string(), vec![2, 4])]),
        dropped: BTreeSet::from(["model.0.mask".to_string()]),
        renamed: BTreeMap::new(),
        config: Some(b"{\"model_type\": \"llama\", \"size\": 2}".to_vec()),
    }
}

#[test]
fn shapes_change_and_the_rest_stays() {
    for source in [single(), sharded()] {
        let temp = TempDir::new().unwrap();
        let out = temp.path().join("out");
        let checkpoint = Checkpoint::open(source.path()).unwrap();
        let mut writer = CheckpointWriter::create_reshaped(&checkpoint, &out, reshaping()).unwrap();
        writer.put("model.0.q.weight", &[7; 16]).unwrap();
        assert_eq!(writer.current("model.0.q.weight").unwrap(), [7; 16]);
        writer.finish(&[]).unwrap();
        let written = Checkpoint::open(&out).unwrap();
        assert_eq!(written.config().raw()["size"], 2);
        assert!(!written.contains("model.0.mask"));
        let q = written.tensor_of_shape("model.0.q.weight", &[2, 4]).unwrap();
        assert_eq!(q.bytes, [7; 16]);
        for (name, _, shape) in [TENSORS[0], TENSORS[2]] {
            let tensor = written.tensor_of_shape(name, shape).unwrap();
            assert_eq!(tensor.bytes, filler(name, tensor.bytes.len()), "{name}");
        }
        assert_eq!(written.total_bytes(), 6 * 4 * 4 + 16 + 16);
        assert_eq!(written.shards(), checkpoint.shards());
        let index = out.join("model.safetensors.index.json");
        if index.exists() {
            let index: Value = serde_json::from_slice(&fs::read(index).unwrap()).unwrap();
            assert_eq!(index["metadata"]["total_size"], written.total_bytes());
            assert_eq!(index["weight_map"].get("model.0.mask"), None);
        }
    }
}

#[test]
fn sizes_are_held_to_the_new_shape() {
    let source = single();
    let temp = TempDir::new().unwrap();
    let out = temp.path().join("out");
    let checkpoint = Checkpoint::open(source.path()).unwrap();
    let mut writer = CheckpointWriter::create_reshaped(&checkpoint, &out, reshaping()).unwrap();
    let error = writer.put("model.0.q.weight", &[7; 32]).unwrap_err();
    assert!(
        matches!(
            error,
            E::ReplacementSize {
                expected: 16,
                found: 32,
                ..
            }
        ),
        "{error}"
    );
    drop(writer);
    assert!(!out.exists());
}

#[test]
#[should_panic(expected = "model.0.q.weight has another shape and was not put")]
fn what_is_reshaped_must_be_put() {
    let source = single();
    let temp = TempDir::new().unwrap();
    let checkpoint = Checkpoint::open(source.path()).unwrap();
    let writer = CheckpointWriter::create_reshaped(&checkpoint, &temp.path().join("out"), reshaping()).unwrap();
    let _ = writer.finish(&[]);
}

#[test]
fn config_is_edited_where_it_has_its_sizes() {
    let edited = |text: &str| -> Value {
        let config = secateur::checkpoint::HfConfig::parse("config.json".as_ref(), text).unwrap();
        serde_json::from_slice(&config.edited(&[("width", json!(3)), ("new", json!(4))])).unwrap()
    };
    assert_eq!(
        edited("{\"a\": 1, \"width\": 2}"),
        json!({"a": 1, "width": 3, "new": 4})
    );
    assert_eq!(
        edited("{\"a\": 1, \"text_config\": {\"width\": 2}}"),
        json!({"a": 1, "text_config": {"width": 3, "new": 4}})
    );
    assert_eq!(
        edited("{\"width\": null, \"text_config\": {}}"),
        json!({"width": 3, "text_config": {"new": 4}})
    );
}
