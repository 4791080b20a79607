//! Result files.

use std::path::{Path, PathBuf};

use super::BenchError;
use crate::report::{BENCH_SCHEMA_VERSION, BenchRow};

/// Rows of a file of JSON (an array of rows) or JSON lines.
pub fn read_rows(file: &Path) -> Result<Vec<BenchRow>, BenchError> {
    let text = std::fs::read_to_string(file).map_err(|error| io(file, "read", error))?;
    let refuse = |line, reason| BenchError::NotRows {
        file: file.to_path_buf(),
        line,
        reason,
    };
    let rows: Vec<BenchRow> = if text.trim_start().starts_with('[') {
        serde_json::from_str(&text).map_err(|e| refuse(None, e.to_string()))?
    } else {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        lines
            .map(|(i, line)| serde_json::from_str(line).map_err(|e| refuse(Some(i + 1), e.to_string())))
            .collect::<Result<_, _>>()?
    };
    if rows.is_empty() {
        return Err(refuse(None, "there is none in it".to_string()));
    }
    if let Some(row) = rows
        .iter()
        .find(|row| row.machine.schema_version != BENCH_SCHEMA_VERSION)
    {
        let found = row.machine.schema_version;
        let reason = format!("schema version {found}, this program knows {BENCH_SCHEMA_VERSION}");
        return Err(refuse(None, reason));
    }
    let broken = |row: &&BenchRow| !(row.median_ns > 0.0 && row.mad_ns >= 0.0);
    match rows.iter().find(broken) {
        Some(row) => Err(refuse(
            None,
            format!("{} has a median of {} ns", row.key(), row.median_ns),
        )),
        None => Ok(rows),
    }
}

/// Rows of all `.json` and `.jsonl` files below a folder, each with its path in it; and the files that hold none.
#[expect(clippy::type_complexity, reason = "two lists")]
pub fn read_folder(folder: &Path) -> Result<(Vec<(String, BenchRow)>, Vec<BenchError>), BenchError> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.sort();
    let (mut rows, mut others) = (Vec::new(), Vec::new());
    for file in files {
        let name = file.strip_prefix(folder).unwrap_or(&file).display().to_string();
        match read_rows(&file) {
            Ok(found) => rows.extend(found.into_iter().map(|row| (name.clone(), row))),
            Err(error) => others.push(error),
        }
    }
    Ok((rows, others))
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), BenchError> {
    let failed = |error| io(folder, "list", error);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        // A link to a folder could lead round in a circle.
        if entry.file_type().map_err(failed)?.is_dir() {
            list(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "json" || e == "jsonl") {
            files.push(path);
        }
    }
    Ok(())
}

fn io(file: &Path, operation: &'static str, error: std::io::Error) -> BenchError {
    BenchError::Io {
        file: file.to_path_buf(),
        operation,
        error,
    }
}
