//! Which files come along with the weights.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use secateur::checkpoint::{Checkpoint, CheckpointWriter};
use tempfile::TempDir;

use super::{CONFIG, single};

const KEPT: [&str; 12] = [
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "LICENSE",
    "preprocessor_config.json",
    "README.md",
    "added_tokens.json",
];

const LEFT: [&str; 15] = [
    "adapter_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model.safetensors.index.json",
    "optimizer.pt",
    "consolidated.00.pth",
    "consolidated.json",
    "model.gguf",
    "model.onnx",
    "flax_model.msgpack",
    "tf_model.h5",
    "modeling_x.py",
    "pruning_report.json",
    ".gitattributes",
    "half.tmp",
];

fn fill(dir: &Path) {
    for name in KEPT.iter().chain(&LEFT) {
        fs::write(dir.join(name), format!("contents of {name}")).unwrap();
    }
    fs::create_dir(dir.join("original")).unwrap();
    fs::write(dir.join("original/params.json"), "{}").unwrap();
}

/// Copies `source` and returns the output with the names in it.
fn copy(source: &Path, extra: &[(&str, &[u8])]) -> (TempDir, BTreeSet<String>) {
    let out = TempDir::new().unwrap();
    let checkpoint = Checkpoint::open(source).unwrap();
    CheckpointWriter::create(&checkpoint, out.path())
        .unwrap()
        .finish(extra)
        .unwrap();
    let names = fs::read_dir(out.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    (out, names)
}

#[test]
fn tokenizer_and_licence_come_along_other_weights_and_bookkeeping_do_not() {
    let source = single();
    fill(source.path());
    let (out, names) = copy(source.path(), &[]);
    let expected = KEPT
        .iter()
        .chain(&["config.json", "model.safetensors"])
        .map(|s| s.to_string())
        .collect();
    assert_eq!(names, expected);
    for name in KEPT {
        assert_eq!(
            fs::read_to_string(out.path().join(name)).unwrap(),
            format!("contents of {name}")
        );
    }
    assert_eq!(fs::read_to_string(out.path().join("config.json")).unwrap(), CONFIG);
}

#[test]
fn python_comes_along_only_where_the_config_needs_it() {
    let source = single();
    fill(source.path());
    fs::write(
        source.path().join("config.json"),
        r#"{"auto_map":{"AutoModel":"modeling_x.X"}}"#,
    )
    .unwrap();
    let (_, names) = copy(source.path(), &[]);
    assert!(names.contains("modeling_x.py"));
}

#[test]
fn extra_files_win_and_a_model_card_stands_above_the_old_one() {
    let source = single();
    fill(source.path());
    fs::write(source.path().join("README.md"), "---\nlicense: mit\n---\n# Old card\n").unwrap();
    let extra: [(&str, &[u8]); 3] = [
        ("pruning_report.json", b"{}"),
        ("README.md", b"---\nnew: 1\n---\n# New card\n"),
        ("merges.txt", b"mine"),
    ];
    let (out, _) = copy(source.path(), &extra);
    let read = |name: &str| fs::read_to_string(out.path().join(name)).unwrap();
    assert_eq!(read("pruning_report.json"), "{}");
    assert_eq!(read("merges.txt"), "mine");
    let card = read("README.md");
    assert!(
        card.starts_with("---\nnew: 1\n---\n# New card\n") && card.ends_with("# Old card\n"),
        "{card}"
    );
    assert!(
        !card.contains("license: mit"),
        "a card can have only one block of YAML:\n{card}"
    );
}

#[test]
fn an_extra_model_card_alone_is_written_as_given() {
    let (out, _) = copy(single().path(), &[("README.md", b"# New")]);
    assert_eq!(fs::read(out.path().join("README.md")).unwrap(), b"# New");
}

/// A hub cache holds links to read-only blobs.
#[cfg(unix)]
#[test]
fn links_are_followed_and_permissions_not_copied() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let blobs = single();
    fs::write(blobs.path().join("blob"), "tokens").unwrap();
    fs::set_permissions(blobs.path().join("blob"), fs::Permissions::from_mode(0o444)).unwrap();
    let snapshot = TempDir::new().unwrap();
    for (target, name) in [
        ("config.json", "config.json"),
        ("model.safetensors", "model.safetensors"),
        ("blob", "tokenizer.json"),
    ] {
        symlink(blobs.path().join(target), snapshot.path().join(name)).unwrap();
    }
    let (out, _) = copy(snapshot.path(), &[]);
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        let found = fs::symlink_metadata(out.path().join(name)).unwrap();
        assert!(found.is_file() && !found.permissions().readonly(), "{name}");
    }
    assert_eq!(fs::read_to_string(out.path().join("tokenizer.json")).unwrap(), "tokens");
}

/// The one folder that belongs to a checkpoint: of its files the templates.
#[test]
fn more_chat_templates_come_along() {
    let source = single();
    let folder = source.path().join("additional_chat_templates");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("tool_use.jinja"), "{{ tools }}").unwrap();
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    let (out, names) = copy(source.path(), &[]);
    assert!(names.contains("additional_chat_templates"), "{names:?}");
    let copied = out.path().join("additional_chat_templates");
    assert_eq!(
        fs::read_to_string(copied.join("tool_use.jinja")).unwrap(),
        "{{ tools }}"
    );
    assert_eq!(fs::read_dir(copied).unwrap().count(), 1);
}
