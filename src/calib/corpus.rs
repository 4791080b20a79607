//! Text files as documents.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;
use serde_json::Value;

use super::error::CalibError;

/// Whether a corpus is one running text or many separate ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CorpusKind {
    /// One text, taken as it is.
    Plain,
    /// One text a line, as JSON.
    Documents,
}

/// Text to calibrate or to evaluate on.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// Where it was read from; for error messages and reports.
    pub path: PathBuf,
    /// How `documents` came about.
    pub kind: CorpusKind,
    /// The texts, in the order of the file; exactly one if `kind` is plain. Empty ones stay: they count in draws.
    pub documents: Vec<String>,
}

/// One line of a JSON Lines file; whatever else stands in it is passed over.
#[derive(Deserialize)]
struct Line {
    text: Option<Value>,
}

impl Corpus {
    /// Reads `path`: `.jsonl`, `.ndjson` and `.json` as JSON lines with a string field `text`, blank lines passed over;
    /// anything else as one plain text, line ends and all. Each may be gzipped (`.gz`).
    ///
    /// Fails if the file is missing, damaged, not UTF-8 or without text, and at the first line that is no such object.
    pub fn read(path: &Path) -> Result<Self, CalibError> {
        let io_error = |error: io::Error| match error.kind() {
            ErrorKind::NotFound => CalibError::MissingText { file: path.into() },
            _ => CalibError::Io {
                file: path.into(),
                error,
            },
        };
        let file = BufReader::with_capacity(1 << 20, File::open(path).map_err(io_error)?);
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let (kind, documents) = match name.strip_suffix(".gz") {
            Some(inner) => {
                let unpacked = BufReader::with_capacity(1 << 20, MultiGzDecoder::new(file));
                read_as(inner, unpacked, path, |error| CalibError::Gzip {
                    file: path.into(),
                    error,
                })?
            }
            None => read_as(&name, file, path, io_error)?,
        };
        if documents.iter().all(String::is_empty) {
            return Err(CalibError::EmptyText { file: path.into() });
        }
        Ok(Corpus {
            path: path.into(),
            kind,
            documents,
        })
    }

    /// A plain text from memory; `name` stands for the file in messages and reports.
    pub fn from_text(name: &str, text: &str) -> Self {
        Corpus {
            path: name.into(),
            kind: CorpusKind::Plain,
            documents: vec![text.into()],
        }
    }
}

fn read_as(
    name: &str,
    reader: impl BufRead,
    path: &Path,
    io_error: impl Fn(io::Error) -> CalibError,
) -> Result<(CorpusKind, Vec<String>), CalibError> {
    if [".jsonl", ".ndjson", ".json"]
        .iter()
        .any(|ending| name.ends_with(ending))
    {
        Ok((CorpusKind::Documents, read_lines(reader, path, io_error)?))
    } else {
        Ok((CorpusKind::Plain, vec![read_plain(reader, path, io_error)?]))
    }
}

fn read_plain(
    mut reader: impl Read,
    path: &Path,
    io_error: impl Fn(io::Error) -> CalibError,
) -> Result<String, CalibError> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map_err(io_error)?;
    String::from_utf8(bytes).map_err(|error| {
        let place = format!("byte {}", error.utf8_error().valid_up_to());
        CalibError::NotUtf8 {
            file: path.into(),
            place,
        }
    })
}

/// Line by line: a shard of C4 has 350 000 documents, and one copy of them in memory is enough.
fn read_lines(
    mut reader: impl BufRead,
    path: &Path,
    io_error: impl Fn(io::Error) -> CalibError,
) -> Result<Vec<String>, CalibError> {
    let (mut documents, mut bytes) = (Vec::new(), Vec::new());
    for line in 1.. {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes).map_err(&io_error)? == 0 {
            break;
        }
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| CalibError::NotUtf8 {
                file: path.into(),
                place: format!("line {line}"),
            })?
            .trim();
        if !text.is_empty() {
            documents.push(text_field(text, path, line)?);
        }
    }
    Ok(documents)
}

fn text_field(line_text: &str, path: &Path, line: usize) -> Result<String, CalibError> {
    let bad = |reason: String| CalibError::BadLine {
        file: path.into(),
        line,
        reason,
    };
    // serde would take a list for the fields in their order.
    if !line_text.starts_with('{') {
        return Err(bad("it does not begin with `{`".into()));
    }
    let parsed: Line = serde_json::from_str(line_text).map_err(|e| bad(e.to_string()))?;
    match parsed.text {
        Some(Value::String(text)) => Ok(text),
        _ => Err(CalibError::NoTextField {
            file: path.into(),
            line,
        }),
    }
}
