//! Reading texts.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use secateur::calib::{CalibError as E, Corpus, CorpusKind};
use tempfile::TempDir;

use super::named;

fn file(dir: &TempDir, name: &str, contents: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, contents).unwrap();
    path
}

fn gzip(contents: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(contents).unwrap();
    encoder.finish().unwrap()
}

fn refused(path: &Path, culprits: &[&str]) -> E {
    let error = named(Corpus::read(path).unwrap_err(), culprits);
    named(error, &[path.to_str().unwrap()])
}

const LINES: &str = concat!(
    "{\"text\": \"one\\nline \\u00e9\", \"url\": [1, {\"text\": \"not this\"}]}\r\n",
    "\n",
    "{\"id\": 2, \"text\": \"\"}\n",
    "{\"text\": \"last\"}"
);

#[test]
fn plain_text_is_taken_as_it_is() {
    let dir = TempDir::new().unwrap();
    let text = "\u{feff}a\r\n\r\n b\t\u{e9}\n";
    for name in ["a.txt", "wiki.test.raw", "noending"] {
        let corpus = Corpus::read(&file(&dir, name, text.as_bytes())).unwrap();
        assert_eq!(
            (corpus.kind, corpus.documents),
            (CorpusKind::Plain, vec![text.to_owned()])
        );
    }
    let corpus = Corpus::read(&file(&dir, "a.txt.gz", &gzip(text.as_bytes()))).unwrap();
    assert_eq!(
        (corpus.kind, corpus.documents),
        (CorpusKind::Plain, vec![text.to_owned()])
    );
}

#[test]
fn json_lines_are_documents_and_empty_ones_count() {
    let dir = TempDir::new().unwrap();
    for name in ["a.jsonl", "a.ndjson", "a.JSON"] {
        let corpus = Corpus::read(&file(&dir, name, LINES.as_bytes())).unwrap();
        assert_eq!(corpus.kind, CorpusKind::Documents);
        assert_eq!(corpus.documents, ["one\nline \u{e9}", "", "last"]);
    }
}

#[test]
fn gzip_files_of_several_members_are_read_to_the_end() {
    let dir = TempDir::new().unwrap();
    let (head, tail) = LINES.split_at(40);
    let packed = [gzip(head.as_bytes()), gzip(tail.as_bytes())].concat();
    let corpus = Corpus::read(&file(&dir, "c4.00000-of-01024.json.gz", &packed)).unwrap();
    assert_eq!(corpus.documents, ["one\nline \u{e9}", "", "last"]);
}

#[test]
fn damaged_gzip_is_refused() {
    let dir = TempDir::new().unwrap();
    let packed = gzip(LINES.as_bytes());
    for (name, bytes) in [
        ("cut.jsonl.gz", &packed[..packed.len() - 9]),
        ("not.txt.gz", b"plain text after all"),
    ] {
        assert!(matches!(refused(&file(&dir, name, bytes), &[name]), E::Gzip { .. }));
    }
}

#[test]
fn missing_and_empty_files_are_refused() {
    let dir = TempDir::new().unwrap();
    assert!(matches!(
        refused(&dir.path().join("no.txt"), &["no such file"]),
        E::MissingText { .. }
    ));
    assert!(matches!(refused(dir.path(), &["cannot read"]), E::Io { .. }));
    for (name, text) in [("a.txt", ""), ("a.jsonl", "\n\n"), ("b.jsonl", "{\"text\":\"\"}\n")] {
        assert!(matches!(
            refused(&file(&dir, name, text.as_bytes()), &["no text"]),
            E::EmptyText { .. }
        ));
    }
}

#[test]
fn a_bad_line_is_named_by_its_number() {
    let dir = TempDir::new().unwrap();
    for bad in [
        "{\"text\": \"a\"",
        "plain",
        "[\"a\"]",
        "{\"text\":\"a\"} {\"text\":\"b\"}",
    ] {
        let path = file(&dir, "a.jsonl", format!("{{\"text\":\"x\"}}\n\n{bad}\n").as_bytes());
        assert!(
            matches!(refused(&path, &["line 3"]), E::BadLine { line: 3, .. }),
            "{bad}"
        );
    }
    for bad in ["{\"body\":\"a\"}", "{\"text\":1}", "{\"text\":null}"] {
        let path = file(&dir, "a.jsonl", format!("{{\"text\":\"x\"}}\n{bad}\n").as_bytes());
        assert!(
            matches!(refused(&path, &["line 2", "text"]), E::NoTextField { line: 2, .. }),
            "{bad}"
        );
    }
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_place() {
    let dir = TempDir::new().unwrap();
    assert!(matches!(
        refused(&file(&dir, "a.txt", b"abc\xff"), &["byte 3"]),
        E::NotUtf8 { .. }
    ));
    let path = file(&dir, "a.jsonl", b"{\"text\":\"x\"}\n{\"text\":\"\xff\"}\n");
    assert!(matches!(refused(&path, &["line 2"]), E::NotUtf8 { .. }));
}
