//! The tokenizer and the hash of token ids.

use std::fs;

use secateur::calib::{CalibError as E, Tokenizer, hash_ids};
use tempfile::TempDir;

use super::{named, tokenizer, tokenizer_json, words};

#[test]
fn truncation_and_padding_in_the_file_are_switched_off() {
    let tokenizer = tokenizer(100);
    let expected: Vec<u32> = (2..102).collect();
    assert_eq!(tokenizer.encode(&words(0..100), false).unwrap(), expected);
    assert_eq!(tokenizer.encode("w3", false).unwrap(), [5]);
    assert_eq!(tokenizer.encode("", false).unwrap(), [0u32; 0]);
}

#[test]
fn special_tokens_come_only_when_asked_for() {
    let tokenizer = tokenizer(3);
    assert_eq!(tokenizer.encode("w0 what w2", true).unwrap(), [1, 2, 0, 4]);
    assert_eq!(tokenizer.encode("w0 what w2", false).unwrap(), [2, 0, 4]);
    assert_eq!(tokenizer.vocab_size(), 5);
}

#[test]
fn it_is_read_from_the_directory_or_the_missing_file_is_named() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tokenizer.json");
    let error = Tokenizer::open(dir.path()).err().unwrap();
    assert!(matches!(
        named(error, &[path.to_str().unwrap()]),
        E::MissingTokenizer { .. }
    ));
    fs::write(&path, "{\"model\": 1}").unwrap();
    let error = Tokenizer::open(dir.path()).err().unwrap();
    assert!(matches!(
        named(error, &[path.to_str().unwrap()]),
        E::BadTokenizer { .. }
    ));
    fs::write(&path, tokenizer_json(1)).unwrap();
    assert_eq!(Tokenizer::open(dir.path()).unwrap().file(), path);
}

#[test]
fn the_hash_sees_ids_and_where_rows_end() {
    // blake3 of 2u64, 2u64, 1u32, 2u32, 1u64, 3u32, little-endian, computed from the bytes alone.
    let bytes = [
        &[2u64.to_le_bytes(), 2u64.to_le_bytes()].concat()[..],
        &[1, 0, 0, 0, 2, 0, 0, 0],
        &1u64.to_le_bytes(),
        &[3, 0, 0, 0],
    ]
    .concat();
    assert_eq!(
        hash_ids(&[vec![1, 2], vec![3]]),
        blake3::hash(&bytes).to_hex().to_string()
    );
    assert_ne!(hash_ids(&[vec![1, 2], vec![3]]), hash_ids(&[vec![1], vec![2, 3]]));
    assert_ne!(hash_ids(&[vec![1]]), hash_ids(&[vec![1], vec![]]));
}
