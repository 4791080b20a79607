//! An output that one process begins and another one ends.

use std::fs;
use std::path::{Path, PathBuf};

use secateur::checkpoint::{Checkpoint, CheckpointError as E, CheckpointWriter, OutputLock, Reshaping};
use tempfile::TempDir;

use super::{SHARDS, named, sharded, single};

/// A source, and the folder of an output whose `q` was put before it was suspended.
struct Suspended {
    checkpoint: Checkpoint,
    source: TempDir,
    temp: TempDir,
}

impl Suspended {
    fn new(source: TempDir) -> Self {
        let temp = TempDir::new().unwrap();
        let checkpoint = Checkpoint::open(source.path()).unwrap();
        let out = Suspended {
            checkpoint,
            source,
            temp,
        };
        let mut writer = CheckpointWriter::create(&out.checkpoint, &out.out()).unwrap();
        writer.put("model.0.q.weight", &[1; 32]).unwrap();
        writer.sync().unwrap();
        writer.put("model.0.k.weight", &[2; 16]).unwrap();
        writer.suspend().unwrap();
        out
    }

    fn out(&self) -> PathBuf {
        self.temp.path().join("out")
    }

    fn lock(&self) -> OutputLock {
        OutputLock::of_unfinished(&self.out()).unwrap().unwrap()
    }

    fn resume(&self) -> CheckpointWriter<'_> {
        let mut writer = CheckpointWriter::resume(&self.checkpoint, &self.out()).unwrap();
        writer.mark_written("model.0.q.weight").unwrap();
        writer
    }

    fn refused(&self, culprits: &[&str]) {
        let error = CheckpointWriter::resume(&self.checkpoint, &self.out()).err();
        let error = named(error.expect("must be refused"), culprits);
        assert!(matches!(error, E::UnfinishedShard { .. }));
    }

    /// The output is the source but for `q`, and holds nothing else.
    fn check(&self) {
        let written = Checkpoint::open(&self.out()).unwrap();
        for name in self.checkpoint.names().filter(|n| !n.ends_with("mask")) {
            let (old, new) = (self.checkpoint.tensor(name).unwrap(), written.tensor(name).unwrap());
            match name {
                "model.0.q.weight" => assert_eq!(new.bytes, [1; 32]),
                _ => assert_eq!(new.bytes, old.bytes, "{name}: put, but not marked as written"),
            }
        }
        assert_eq!(listing(&self.out()), listing(self.source.path()));
    }
}

fn listing(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn leave_state(out: &Path) {
    fs::create_dir_all(out.join(".secateur")).unwrap();
    fs::write(out.join(".secateur/state.json"), "{}").unwrap();
    fs::write(out.join(".secateur/activations-1.bin"), "...").unwrap();
}

#[test]
fn a_resumed_output_is_the_one_that_was_begun() {
    for source in [single(), sharded()] {
        let suspended = Suspended::new(source);
        leave_state(&suspended.out());
        // Given up twice, once by an error: the files stay.
        drop(suspended.resume());
        suspended.resume().suspend().unwrap();
        suspended.resume().finish(&[]).unwrap();
        suspended.check();
    }
}

#[test]
fn a_process_that_ended_within_finish_can_be_followed() {
    let suspended = Suspended::new(sharded());
    let out = suspended.out();
    // One shard has its name, a side file and the index are there.
    fs::rename(out.join(format!("{}.tmp", SHARDS[0])), out.join(SHARDS[0])).unwrap();
    fs::write(out.join("config.json"), "half a conf").unwrap();
    fs::write(out.join("model.safetensors.index.json"), "half an ind").unwrap();
    let writer = suspended.resume();
    let shards = SHARDS.map(|s| format!("{s}.tmp"));
    let others = [".secateur".to_string(), "config.json".into()];
    assert_eq!(listing(&out), [&others, &shards[..]].concat());
    writer.finish(&[]).unwrap();
    suspended.check();
    // And one that ended before it removed the state.
    leave_state(&out);
    suspended.resume().finish(&[]).unwrap();
    suspended.check();
}

#[test]
fn a_resume_within_another_state_of_things_is_refused() {
    let suspended = Suspended::new(sharded());
    let (out, shard) = (suspended.out(), suspended.out().join(format!("{}.tmp", SHARDS[1])));
    let whole = fs::read(&shard).unwrap();
    let names = [shard.to_str().unwrap(), out.to_str().unwrap(), "without `resume`"];

    fs::write(&shard, &whole[1..]).unwrap();
    suspended.refused(&[&names[..], &["instead of"]].concat());
    let mut other = whole.clone();
    other[20] ^= 1;
    fs::write(&shard, &other).unwrap();
    suspended.refused(&[&names[..], &["header"]].concat());
    fs::remove_file(&shard).unwrap();
    suspended.refused(&names);

    fs::write(&shard, &whole).unwrap();
    let mut writer = suspended.resume();
    assert!(matches!(writer.mark_written("none"), Err(E::MissingTensor { .. })));
    writer.finish(&[]).unwrap();
    suspended.check();
}

#[test]
fn an_unfinished_run_is_not_overwritten() {
    let suspended = Suspended::new(single());
    leave_state(&suspended.out());
    let before = listing(&suspended.out());
    let error = CheckpointWriter::create(&suspended.checkpoint, &suspended.out()).err();
    let error = named(
        error.expect("must be refused"),
        &[suspended.out().to_str().unwrap(), "`resume`", "delete"],
    );
    assert!(matches!(error, E::UnfinishedRun { .. }));
    assert_eq!(listing(&suspended.out()), before);
}

#[test]
fn a_run_that_died_early_is_begun_again() {
    let suspended = Suspended::new(sharded());
    let lock = suspended.lock();
    let mut writer =
        CheckpointWriter::within(&suspended.checkpoint, &suspended.out(), Reshaping::default(), false).unwrap();
    writer.put("model.0.q.weight", &[1; 32]).unwrap();
    writer.finish(&[]).unwrap();
    drop(lock);
    suspended.check();
}

#[test]
fn one_process_at_a_time() {
    let suspended = Suspended::new(single());
    let (lock, writer) = (suspended.lock(), suspended.resume());
    let out = suspended.out();
    let names = [out.to_str().unwrap(), "another process"];
    let error = OutputLock::of_unfinished(&suspended.out()).err().expect("locked");
    assert!(matches!(named(error, &names), E::Locked { .. }));
    let error = CheckpointWriter::create(&suspended.checkpoint, &suspended.out()).err();
    named(error.expect("locked"), &names);
    writer.finish(&[]).unwrap();
    drop(lock);
    assert!(OutputLock::of_unfinished(&suspended.out()).unwrap().is_none());
    suspended.check();
}

#[test]
fn dropping_removes_the_state_too_unless_the_output_is_kept() {
    let source = single();
    let temp = TempDir::new().unwrap();
    let out = temp.path().join("out");
    let checkpoint = Checkpoint::open(source.path()).unwrap();
    for keep in [false, true] {
        let mut writer = CheckpointWriter::create(&checkpoint, &out).unwrap();
        leave_state(&out);
        if keep {
            writer.keep();
        }
        drop(writer);
        assert_eq!(out.exists(), keep);
    }
    assert_eq!(listing(&out), [".secateur", "model.safetensors.tmp"]);
    assert_eq!(listing(&out.join(".secateur")).len(), 3);
}

#[test]
fn reading_ahead_changes_nothing() {
    let source = sharded();
    let checkpoint = Checkpoint::open(source.path()).unwrap();
    checkpoint.prefetch(checkpoint.names());
    checkpoint.prefetch(["none", "model.0.q.weight"]);
    checkpoint.prefetch::<&str>([]);
    let view = checkpoint.tensor("model.0.q.weight").unwrap();
    assert_eq!(view.bytes, super::filler("model.0.q.weight", 32));
}
