//! Every way in which files may be damaged or not fit together, and what the message names.

use std::fs::{self, File};

use safetensors::tensor::Dtype;
use secateur::checkpoint::{Checkpoint, CheckpointError as E};

use super::{SHARDS, TENSORS, directory, open_error, sharded, single, write_index, write_raw, write_shard};

const F32: &str = r#""dtype":"F32","shape":[2]"#;

#[test]
fn the_directory_itself() {
    let dir = single();
    assert!(matches!(
        open_error(&dir.path().join("no"), &["no such directory"]),
        E::NoDirectory { .. }
    ));
    let file = dir.path().join("model.safetensors");
    assert!(matches!(
        open_error(&file, &["model.safetensors", "directory"]),
        E::NotADirectory { .. }
    ));
    fs::remove_file(dir.path().join("config.json")).unwrap();
    assert!(matches!(
        open_error(dir.path(), &["config.json"]),
        E::MissingConfig { .. }
    ));
}

#[test]
fn no_weights() {
    let dir = directory();
    assert!(matches!(
        open_error(dir.path(), &["model.safetensors.index.json"]),
        E::NoWeights { .. }
    ));
    fs::write(dir.path().join("pytorch_model.bin"), "x").unwrap();
    assert!(matches!(
        open_error(dir.path(), &["pytorch_model.bin", "save_pretrained"]),
        E::OtherFormat { .. }
    ));
}

#[test]
fn a_file_cut_short_or_too_long() {
    let dir = single();
    let path = dir.path().join("model.safetensors");
    let full = fs::metadata(&path).unwrap().len();
    for length in [full - 1, full + 1] {
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(length)
            .unwrap();
        let error = open_error(
            dir.path(),
            &["model.safetensors", &length.to_string(), &full.to_string()],
        );
        assert!(matches!(error, E::WrongFileLength { .. }), "{error}");
    }
    for length in [0, 7] {
        fs::write(&path, vec![0; length]).unwrap();
        let error = open_error(dir.path(), &["model.safetensors", &format!("after {length} bytes")]);
        assert!(matches!(error, E::BadHeader { .. }), "{error}");
    }
}

#[test]
fn a_header_longer_than_the_file() {
    let dir = directory();
    for length in [9, 99_999_999, 100_000_001, u64::MAX - 4, u64::MAX] {
        fs::write(
            dir.path().join("model.safetensors"),
            [&length.to_le_bytes()[..], b"{}      "].concat(),
        )
        .unwrap();
        let error = open_error(dir.path(), &["model.safetensors", &length.to_string(), "16 bytes"]);
        assert!(matches!(error, E::HeaderLength { .. }), "{error}");
    }
}

#[test]
fn a_header_that_is_not_one() {
    let dir = directory();
    let wrong = [
        ("not json", "line 1"),
        ("[]", "invalid type"),
        (r#"{"a":1}"#, "tensor a"),
        (r#"{"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}"#, "F99"),
        (r#"{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, "tensor a"),
        (
            r#"{"__metadata__":{"x":1},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
            "integer `1`",
        ),
    ];
    for (header, culprit) in wrong {
        write_raw(dir.path(), header, &[0; 8]);
        let error = open_error(dir.path(), &["model.safetensors", culprit]);
        assert!(matches!(error, E::BadHeader { .. }), "{header}: {error}");
    }
    let not_utf8 = [&4u64.to_le_bytes()[..], b"{\"\xff}"].concat();
    fs::write(dir.path().join("model.safetensors"), not_utf8).unwrap();
    assert!(matches!(
        open_error(dir.path(), &["model.safetensors"]),
        E::BadHeader { .. }
    ));
}

#[test]
fn offsets_that_overlap_leave_holes_or_run_backwards() {
    let dir = directory();
    for (second, begin) in [("[4,12]", "4..12"), ("[12,20]", "12..20"), ("[8,4]", "8..4")] {
        let header = format!(r#"{{"a":{{{F32},"data_offsets":[0,8]}},"model.b":{{{F32},"data_offsets":{second}}}}}"#);
        write_raw(dir.path(), &header, &[0; 20]);
        // A backwards range sorts wherever its begin puts it; here always second.
        let error = open_error(dir.path(), &["model.safetensors", "model.b", begin, "begin at 8"]);
        assert!(matches!(error, E::BadOffsets { .. }), "{error}");
    }
    write_raw(
        dir.path(),
        &format!(r#"{{"a":{{{F32},"data_offsets":[8,16]}}}}"#),
        &[0; 16],
    );
    assert!(matches!(
        open_error(dir.path(), &["tensor a", "begin at 0"]),
        E::BadOffsets { .. }
    ));
}

#[test]
fn offsets_beyond_the_file() {
    let dir = directory();
    let header = r#"{"a":{"dtype":"U8","shape":[4096],"data_offsets":[0,4096]}}"#;
    write_raw(dir.path(), header, &[0; 8]);
    let expected = (8 + header.len() + 4096).to_string();
    assert!(matches!(
        open_error(dir.path(), &["model.safetensors", &expected]),
        E::WrongFileLength { .. }
    ));
}

#[test]
fn sizes_that_do_not_fit_type_and_shape() {
    let dir = directory();
    for (dtype, shape, expected) in [
        ("F16", "[2]", "4"),
        ("F32", "[3]", "12"),
        ("F32", "[4294967296,4294967296]", "73786976294838206464"),
    ] {
        let header = format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,8]}}}}"#);
        write_raw(dir.path(), &header, &[0; 8]);
        let needs = format!("needs {expected} bytes but has 8");
        let error = open_error(dir.path(), &["model.safetensors", "tensor w", dtype, &needs]);
        assert!(matches!(error, E::WrongTensorSize { .. }), "{error}");
    }
}

#[test]
fn a_git_lfs_pointer() {
    let dir = directory();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
    fs::write(dir.path().join("model.safetensors"), pointer).unwrap();
    assert!(matches!(
        open_error(dir.path(), &["model.safetensors", "git lfs pull"]),
        E::LfsPointer { .. }
    ));
}

#[test]
fn an_index_that_does_not_fit_its_shards() {
    let dir = sharded();
    for text in ["no json", "{}", r#"{"weight_map":{}}"#] {
        fs::write(dir.path().join("model.safetensors.index.json"), text).unwrap();
        assert!(
            matches!(
                open_error(dir.path(), &["model.safetensors.index.json"]),
                E::BadIndex { .. }
            ),
            "{text}"
        );
    }
    for outside in ["../model.safetensors", "/etc/hosts", "..", ""] {
        write_index(dir.path(), &format!("\"a\": \"{outside}\""));
        assert!(
            matches!(open_error(dir.path(), &["plain file name"]), E::BadIndex { .. }),
            "{outside}"
        );
    }
    write_index(dir.path(), &format!("\"model.nowhere\": \"{}\"", SHARDS[1]));
    let error = open_error(dir.path(), &["model.nowhere", SHARDS[1], "index.json"]);
    assert!(matches!(error, E::NotInShard { .. }));
    write_index(dir.path(), "\"model.embed.weight\": \"model-9.safetensors\"");
    let error = open_error(dir.path(), &["model.embed.weight", "model-9.safetensors", "index.json"]);
    assert!(matches!(error, E::MissingShard { .. }));
}

#[test]
fn a_tensor_in_two_shards() {
    let dir = sharded();
    write_shard(dir.path(), SHARDS[1], &TENSORS[1..], &[]);
    let error = open_error(dir.path(), &["model.0.q.weight", SHARDS[0], SHARDS[1]]);
    assert!(matches!(error, E::DuplicateTensor { .. }));
}

#[test]
fn an_empty_tensor_and_an_empty_file_are_no_damage() {
    let dir = directory();
    write_shard(
        dir.path(),
        "model.safetensors",
        &[("b", Dtype::F32, &[0]), ("a", Dtype::F32, &[0, 3])],
        &[],
    );
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b"]);
    checkpoint.release("a");
    write_raw(dir.path(), "{}", &[]);
    assert_eq!(Checkpoint::open(dir.path()).unwrap().names().count(), 0);
}
