//! Opening a checkpoint and looking at its tensors.

use std::fs;

use safetensors::tensor::Dtype;
use secateur::checkpoint::{Checkpoint, CheckpointError as E};
use secateur::tensor::DType;

use super::{SHARDS, TENSORS, directory, filler, named, sharded, single, write_raw, write_shard};

#[test]
fn every_tensor_is_found_with_its_type_shape_bytes_and_file() {
    for (dir, files) in [(single(), ["model.safetensors"; 2]), (sharded(), SHARDS)] {
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        for (i, (name, dtype, shape)) in TENSORS[..3].iter().enumerate() {
            let view = checkpoint.tensor_of_shape(name, shape).unwrap();
            assert_eq!(view.name, *name);
            assert_eq!(view.dtype.size() * 8, dtype.bitsize());
            assert_eq!(view.shape, *shape);
            assert_eq!(view.bytes, filler(name, view.elements() * view.dtype.size()));
            assert_eq!(view.file, dir.path().join(files[i / 2]));
        }
        assert_eq!(checkpoint.tensor(TENSORS[2].0).unwrap().dtype, DType::BF16);
        assert_eq!(checkpoint.total_bytes(), 96 + 32 + 16 + 3);
        assert_eq!(checkpoint.largest_tensor_bytes(), 96);
        assert!(checkpoint.contains("model.0.mask") && !checkpoint.contains("model.0.mas"));
        assert_eq!(checkpoint.names().count(), 4);
    }
}

#[test]
fn names_come_in_the_order_of_the_file_and_unaligned_data_is_decoded() {
    let dir = directory();
    let header = concat!(
        r#"{"z":{"dtype":"F32","shape":[2],"data_offsets":[3,11]},"#,
        r#""y":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}"#
    );
    let payload = [&[1, 2, 3][..], &1.5f32.to_le_bytes(), &(-2.25f32).to_le_bytes()].concat();
    write_raw(dir.path(), header, &payload);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["y", "z"]);
    let view = checkpoint.tensor("z").unwrap();
    assert_ne!(
        view.bytes.as_ptr() as usize % 4,
        0,
        "the test must read from an odd address"
    );
    assert_eq!(view.to_f32(), [1.5, -2.25]);
}

#[test]
fn a_single_file_goes_before_an_index() {
    let dir = sharded();
    write_shard(dir.path(), "model.safetensors", &[("only", Dtype::F32, &[1])], &[]);
    assert_eq!(
        Checkpoint::open(dir.path()).unwrap().names().collect::<Vec<_>>(),
        ["only"]
    );
}

#[test]
fn a_wanted_tensor_that_is_not_there_or_not_as_expected() {
    let dir = single();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let error = named(
        checkpoint.tensor("model.9.q").unwrap_err(),
        &["model.9.q", dir.path().to_str().unwrap()],
    );
    assert!(matches!(error, E::MissingTensor { .. }));
    let error = checkpoint.tensor_of_shape("model.embed.weight", &[4, 6]).unwrap_err();
    let error = named(error, &["model.safetensors", "model.embed.weight", "[6, 4]", "[4, 6]"]);
    assert!(matches!(error, E::WrongShape { .. }));
    let error = named(
        checkpoint.tensor("model.0.mask").unwrap_err(),
        &["model.safetensors", "model.0.mask", "U8"],
    );
    assert!(matches!(error, E::UnsupportedDtype { .. }));
}

#[test]
fn the_fingerprint_follows_the_contents_and_not_the_place() {
    let (a, b) = (sharded(), sharded());
    let of = |dir: &tempfile::TempDir| Checkpoint::open(dir.path()).unwrap().fingerprint();
    let first = of(&a);
    assert_eq!(first, of(&b));
    assert_ne!(first, of(&single()));

    let shard = b.path().join(SHARDS[0]);
    let mut bytes = fs::read(&shard).unwrap();
    let start = bytes.len() - 32;
    bytes[start] ^= 1; // the first byte of the last tensor
    fs::write(&shard, bytes).unwrap();
    assert_ne!(first, of(&b));

    fs::write(a.path().join("config.json"), "{}").unwrap();
    assert_ne!(first, of(&a));
}

/// Reads the tensor, releases it, and looks at what of the mapping is resident each time.
#[cfg(target_os = "linux")]
#[test]
fn release_gives_memory_back_and_the_bytes_stay_readable() {
    let dir = directory();
    let elements = 4 << 20;
    write_shard(
        dir.path(),
        "model.safetensors",
        &[("big", Dtype::F32, &[elements])],
        &[],
    );
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let path = dir.path().join("model.safetensors");
    let resident = || -> usize {
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = maps.lines().skip_while(|line| !line.ends_with(path.to_str().unwrap()));
        let rss = lines.find(|line| line.starts_with("Rss:")).expect("the file is mapped");
        rss.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let sum = |checkpoint: &Checkpoint| {
        checkpoint
            .tensor("big")
            .unwrap()
            .bytes
            .iter()
            .fold(0u64, |sum, &b| sum.wrapping_mul(3).wrapping_add(b.into()))
    };
    let before = sum(&checkpoint);
    // Where memory is short the system takes some back meanwhile.
    let whole = (0..100).any(|_| sum(&checkpoint) == before && resident() >= 16 << 10);
    assert!(whole, "all 16 MiB should be resident, {} KiB are", resident());
    checkpoint.release("big");
    assert!(resident() < 1 << 10, "{} KiB are still resident", resident());
    assert_eq!(sum(&checkpoint), before);
    checkpoint.release("no such tensor");
}
