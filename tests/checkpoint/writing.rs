//! The written checkpoint: the same bytes but for what was replaced, and nothing at all after a failure.

use std::fs;
use std::path::Path;

use safetensors::tensor::SafeTensors;
use secateur::checkpoint::{Checkpoint, CheckpointError as E, CheckpointWriter};
use tempfile::TempDir;

use super::{CONFIG, SHARDS, TENSORS, directory, filler, named, sharded, single, write_raw, write_shard};

fn listing(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn refused(source: &Checkpoint, out: &Path) -> E {
    CheckpointWriter::create(source, out).err().expect("must be refused")
}

#[test]
fn untouched_checkpoints_come_out_byte_for_byte() {
    for source in [single(), sharded()] {
        let temp = TempDir::new().unwrap();
        let out = temp.path().join("deep/er/out");
        let checkpoint = Checkpoint::open(source.path()).unwrap();
        let written = CheckpointWriter::create(&checkpoint, &out)
            .unwrap()
            .finish(&[])
            .unwrap();
        assert_eq!(listing(&out), listing(source.path()));
        for name in listing(&out) {
            assert_eq!(
                fs::read(out.join(&name)).unwrap(),
                fs::read(source.path().join(&name)).unwrap(),
                "{name}"
            );
        }
        let mut names: Vec<String> = written
            .iter()
            .map(|p| p.strip_prefix(&out).unwrap().to_str().unwrap().to_owned())
            .collect();
        let last = names.last().unwrap().clone();
        assert!(
            last == "model.safetensors" || last == "model.safetensors.index.json",
            "{last} came last"
        );
        names.sort();
        assert_eq!(names, listing(&out));
    }
}

#[test]
fn put_replaces_that_tensor_and_no_other_byte() {
    let source = sharded();
    let temp = TempDir::new().unwrap();
    let out = temp.path().join("out");
    let checkpoint = Checkpoint::open(source.path()).unwrap();
    let mut writer = CheckpointWriter::create(&checkpoint, &out).unwrap();
    // In any order; the last call counts; types that cannot be read can be replaced.
    writer.put("model.0.mask", &[9, 8, 7]).unwrap();
    writer.put("model.0.q.weight", &[1; 32]).unwrap();
    writer.put("model.0.q.weight", &[2; 32]).unwrap();
    writer.finish(&[]).unwrap();

    for shard in SHARDS {
        let (old, new) = (
            fs::read(source.path().join(shard)).unwrap(),
            fs::read(out.join(shard)).unwrap(),
        );
        let (old, new) = (
            SafeTensors::deserialize(&old).unwrap(),
            SafeTensors::deserialize(&new).unwrap(),
        );
        assert_eq!(old.names().len(), new.names().len());
        for (name, view) in new.iter() {
            let expected = match name {
                "model.0.mask" => vec![9, 8, 7],
                "model.0.q.weight" => vec![2; 32],
                other => old.tensor(other).unwrap().data().to_vec(),
            };
            assert_eq!(view.data(), expected, "{name}");
            assert_eq!(
                (view.dtype(), view.shape()),
                (old.tensor(name).unwrap().dtype(), old.tensor(name).unwrap().shape())
            );
        }
    }
    assert_eq!(fs::read_to_string(out.join("config.json")).unwrap(), CONFIG);
    Checkpoint::open(&out).unwrap();
}

#[test]
fn a_tensor_longer_than_a_copying_piece() {
    let source = directory();
    write_shard(
        source.path(),
        "model.safetensors",
        &[("big", safetensors::Dtype::U8, &[(32 << 20) + 5])],
        &[("format", "pt")],
    );
    let temp = TempDir::new().unwrap();
    let out = temp.path().join("out");
    let checkpoint = Checkpoint::open(source.path()).unwrap();
    CheckpointWriter::create(&checkpoint, &out)
        .unwrap()
        .finish(&[])
        .unwrap();
    let read = |dir: &Path| fs::read(dir.join("model.safetensors")).unwrap();
    assert!(read(&out) == read(source.path()), "the copy differs");
}

#[test]
fn the_header_gains_a_format_and_alignment_and_keeps_the_rest() {
    let entries =
        r#""z":{"dtype":"F32","shape":[1],"data_offsets":[1,5]},"y":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    for (metadata, expected) in [
        ("", r#"{"format":"pt"}"#),
        (r#""__metadata__":{"note":"kept"},"#, r#"{"note":"kept","format":"pt"}"#),
        (r#""__metadata__":{"format":"mlx"},"#, r#"{"format":"mlx"}"#),
        (r#""__metadata__":{"format":"pt!"},"#, r#"{"format":"pt!"}"#),
    ] {
        let source = directory();
        write_raw(source.path(), &format!("{{{metadata}{entries}}}"), &[1, 2, 3, 4, 5]);
        let temp = TempDir::new().unwrap();
        let out = temp.path().join("out");
        let checkpoint = Checkpoint::open(source.path()).unwrap();
        let mut writer = CheckpointWriter::create(&checkpoint, &out).unwrap();
        writer.put("z", &[9, 8, 7, 6]).unwrap();
        writer.finish(&[]).unwrap();

        let bytes = fs::read(out.join("model.safetensors")).unwrap();
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(header % 8, 0, "{metadata}");
        assert_eq!(bytes[8 + header..], [1, 9, 8, 7, 6], "{metadata}");
        let json: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
        assert_eq!(json["__metadata__"].to_string(), expected);
        let names = Checkpoint::open(&out)
            .unwrap()
            .names()
            .map(str::to_owned)
            .collect::<Vec<_>>();
        assert_eq!(names, ["y", "z"]);
    }
}

#[test]
fn wrong_names_and_sizes_are_refused() {
    let source = single();
    let temp = TempDir::new().unwrap();
    let checkpoint = Checkpoint::open(source.path()).unwrap();
    let mut writer = CheckpointWriter::create(&checkpoint, &temp.path().join("out")).unwrap();
    let error = named(
        writer.put("model.0.q.weight", &[0; 31]).unwrap_err(),
        &["model.0.q.weight", "31", "32"],
    );
    assert!(matches!(error, E::ReplacementSize { .. }));
    assert!(matches!(writer.put("none", &[]).unwrap_err(), E::MissingTensor { .. }));
}

#[test]
fn only_a_new_or_empty_directory_is_written_to() {
    let source = single();
    let temp = TempDir::new().unwrap();
    let checkpoint = Checkpoint::open(source.path()).unwrap();
    assert!(matches!(refused(&checkpoint, source.path()), E::OutputIsSource { .. }));
    let roundabout = source.path().join("../").join(source.path().file_name().unwrap());
    assert!(matches!(refused(&checkpoint, &roundabout), E::OutputIsSource { .. }));

    CheckpointWriter::create(&checkpoint, temp.path())
        .unwrap()
        .finish(&[])
        .unwrap();
    let before = listing(temp.path());
    let error = named(
        refused(&checkpoint, temp.path()),
        &[temp.path().to_str().unwrap(), "not empty"],
    );
    assert!(matches!(error, E::OutputNotEmpty { .. }));
    assert_eq!(listing(temp.path()), before, "a refusal must not touch what is there");
    assert!(matches!(
        refused(&checkpoint, &temp.path().join("config.json")),
        E::NotADirectory { .. }
    ));
}

#[test]
fn dropped_unfinished_it_leaves_nothing() {
    let source = sharded();
    let temp = TempDir::new().unwrap();
    let checkpoint = Checkpoint::open(source.path()).unwrap();
    let mut writer = CheckpointWriter::create(&checkpoint, &temp.path().join("a/b")).unwrap();
    writer.put("model.0.q.weight", &[1; 32]).unwrap();
    let shards = SHARDS.map(|s| format!("{s}.tmp"));
    assert_eq!(
        listing(&temp.path().join("a/b")),
        [&[".secateur".to_string()], &shards[..]].concat()
    );
    drop(writer);
    assert!(listing(temp.path()).is_empty());

    // A directory that was there before stays.
    drop(CheckpointWriter::create(&checkpoint, temp.path()).unwrap());
    assert!(listing(temp.path()).is_empty());
}

#[test]
fn a_failure_late_in_finish_leaves_nothing() {
    let source = single();
    fs::write(source.path().join("tokenizer.json"), "{}").unwrap();
    let temp = TempDir::new().unwrap();
    let out = temp.path().join("out");
    let checkpoint = Checkpoint::open(source.path()).unwrap();
    let writer = CheckpointWriter::create(&checkpoint, &out).unwrap();
    // Someone else's file in the way: it must survive, and all of ours must go.
    fs::write(out.join("tokenizer.json"), "mine").unwrap();
    named(writer.finish(&[]).unwrap_err(), &["tokenizer.json"]);
    assert_eq!(listing(&out), ["tokenizer.json"]);
    assert_eq!(fs::read_to_string(out.join("tokenizer.json")).unwrap(), "mine");
}

/// The kernel's own ENOSPC: the file being written is replaced by a link to a device that is always full.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_reported_with_the_bytes_needed_and_leaves_nothing() {
    let source = single();
    let length = fs::metadata(source.path().join("model.safetensors")).unwrap().len();
    let checkpoint = Checkpoint::open(source.path()).unwrap();
    for put in [true, false] {
        let temp = TempDir::new().unwrap();
        let out = temp.path().join("out");
        let mut writer = CheckpointWriter::create(&checkpoint, &out).unwrap();
        let temporary = out.join("model.safetensors.tmp");
        fs::remove_file(&temporary).unwrap();
        std::os::unix::fs::symlink("/dev/full", &temporary).unwrap();
        let (name, ..) = TENSORS[0];
        let error = match put {
            true => {
                let error = writer.put(name, &filler(name, 96)).unwrap_err();
                drop(writer);
                error
            }
            false => writer.finish(&[]).unwrap_err(),
        };
        let error = named(
            error,
            &["model.safetensors.tmp", "disk full", &format!("{length} bytes")],
        );
        assert!(matches!(error, E::DiskFull { .. }));
        assert!(listing(temp.path()).is_empty());
    }
}
