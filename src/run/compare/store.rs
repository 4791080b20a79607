//! A comparison on disk: `compare.json`, which is the truth, and the tables made from it, replaced after every step.
//!
//! In the state folder, until all is done: what left the dense model's last layer, and the checkpoint of the row being
//! worked on unless it is kept elsewhere.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::options::CompareOptions;
use crate::checkpoint::{Checkpoint, CheckpointError, Replacement, STATE_FILE, STATE_FOLDER};
#[cfg(feature = "cli")]
use crate::report::compare_markdown;
use crate::report::{CompareCell, CompareReport, compare_csv};
use crate::run::RunError;
use crate::run::folder::{RunFolder, differences};

/// Of the file's fields.
const VERSION: u32 = 1;
const JSON: &str = "compare.json";

pub(super) struct Store {
    folder: RunFolder,
    pub(super) report: CompareReport,
}

impl Store {
    /// A new comparison in the output folder, or the one that was begun there with the same settings.
    pub(super) fn open(options: &CompareOptions, checkpoint: &Checkpoint, settings: Value) -> Result<Self, RunError> {
        let fresh = CompareReport {
            version: VERSION,
            tool: format!("secateur {}", env!("CARGO_PKG_VERSION")),
            model: checkpoint.dir().display().to_string(),
            settings,
            ..Default::default()
        };
        let folder = RunFolder::of_results(checkpoint, (&options.output, checkpoint.total_bytes()), JSON)?;
        let file = options.output.join(JSON);
        let report = match fs::read(&file) {
            Ok(text) => earlier(&file, &text, &fresh)?,
            Err(e) if e.kind() == ErrorKind::NotFound => fresh,
            Err(error) => {
                let (path, operation) = (file, "read");
                return Err(CheckpointError::Io { path, operation, error }.into());
            }
        };
        Ok(Store { folder, report })
    }

    /// Where checkpoints are that nobody wants to keep.
    pub(super) fn scratch(output: &Path) -> PathBuf {
        output.join(STATE_FOLDER)
    }

    /// Where the dense model's states on a text are kept.
    pub(super) fn dense_states(&self, text: usize) -> PathBuf {
        self.folder.place(&format!("dense-{text}.bin"))
    }

    /// Fails if there is a row of this name with other settings, or any row that this one cannot be compared with.
    pub(super) fn check(&self, name: &str, settings: &Value) -> Result<(), RunError> {
        let file = self.folder.path().join(JSON);
        (self.report.cells.iter()).try_for_each(|cell| match cell.name == name {
            true => same(&file, name, &cell.settings, settings),
            false => same(&file, &cell.name, &of_all_rows(&cell.settings), &of_all_rows(settings)),
        })
    }

    /// Whether a row has been evaluated on all `texts`, and its checkpoint kept if that is asked for.
    pub(super) fn finished(&self, name: &str, texts: usize, kept: bool) -> bool {
        let mut cells = self.report.cells.iter();
        cells.any(|cell| cell.name == name && cell.evals.len() == texts && (cell.checkpoint.is_some() || !kept))
    }

    /// Whether the row's checkpoint is there, complete.
    pub(super) fn pruned(&self, name: &str, folder: &Path) -> bool {
        let known = self.report.cells.iter().any(|cell| cell.name == name);
        known && folder.join("pruning_report.json").is_file() && !folder.join(STATE_FOLDER).exists()
    }

    /// A row that was [`Store::put`].
    pub(super) fn cell(&mut self, name: &str) -> &mut CompareCell {
        let mut cells = self.report.cells.iter_mut();
        cells.find(|cell| cell.name == name).expect("the row is pruned")
    }

    /// Adds a row, or takes the place of an earlier one.
    pub(super) fn put(&mut self, cell: CompareCell) {
        match self.report.cells.iter_mut().find(|other| other.name == cell.name) {
            Some(other) => *other = cell,
            None => self.report.cells.push(cell),
        }
    }

    /// Whether `folder` holds a prune that can be gone on with; anything else there is removed if it is `ours`.
    pub(super) fn unfinished(&self, folder: &Path, ours: bool) -> Result<bool, RunError> {
        if is_begun(folder) {
            return Ok(true);
        }
        if ours && folder.exists() {
            self.remove(folder)?;
        }
        // One that was stopped before its first state is begun again by the same way.
        Ok(folder.join(STATE_FOLDER).is_dir())
    }

    pub(super) fn remove(&self, folder: &Path) -> Result<(), RunError> {
        fs::remove_dir_all(folder).map_err(|error| {
            let (path, operation) = (folder.to_path_buf(), "remove");
            CheckpointError::Io { path, operation, error }.into()
        })
    }

    /// Replaces the files of results, each whole at any moment.
    pub(super) fn save(&mut self) -> Result<(), RunError> {
        let json = serde_json::to_string_pretty(&self.report).expect("plain data");
        let files = [
            (JSON, json),
            #[cfg(feature = "cli")]
            ("compare.md", compare_markdown(&self.report) + "\n"),
            ("compare.csv", compare_csv(&self.report)),
        ];
        for (name, text) in files {
            let path = self.folder.path().join(name);
            Replacement::write(&path, text.as_bytes()).map_err(|e| self.folder.failed(&path, e))?;
        }
        self.folder.keep();
        Ok(())
    }

    /// All rows are done that were asked for.
    pub(super) fn finish(self) -> Result<CompareReport, RunError> {
        // What an earlier command has begun it may go on with.
        if !self.has_begun_rows()? {
            self.folder.finish()?;
        }
        Ok(self.report)
    }

    fn has_begun_rows(&self) -> Result<bool, RunError> {
        let scratch = self.folder.state();
        let (path, operation) = (scratch.clone(), "read");
        let failed = |error| CheckpointError::Io { path, operation, error };
        let rows = fs::read_dir(scratch).map_err(failed)?.flatten();
        Ok(rows.map(|row| row.path()).any(|row| is_begun(&row)))
    }

    /// Says what is kept, if anything is.
    pub(super) fn paused(&self, error: RunError, [done, rows]: [usize; 2]) -> RunError {
        let output = self.folder.path().display().to_string();
        // How to resume a prune is not how to resume this.
        let error = match error {
            RunError::Suspended { error, .. } => *error,
            RunError::NothingWritten { .. } => RunError::Interrupted,
            other => other,
        };
        match error {
            RunError::Interrupted if self.report.dense.is_empty() => RunError::NothingWritten { output },
            error if self.report.dense.is_empty() => error,
            error => RunError::Paused {
                error: Box::new(error),
                output,
                done,
                rows,
            },
        }
    }
}

/// Whether a folder holds a prune that can be gone on with.
fn is_begun(folder: &Path) -> bool {
    folder.join(STATE_FOLDER).join(STATE_FILE).is_file()
}

/// Of a row's settings those that make rows comparable: the same version of the program, model and tokens, on one device.
fn of_all_rows(settings: &Value) -> Value {
    let mut all = serde_json::Map::new();
    for name in [
        "tool",
        "family_fingerprint",
        "calibration",
        "statistics",
        "adapter",
        "half_attention",
    ] {
        all.insert(name.into(), settings[name].clone());
    }
    for name in ["samples", "length", "bos"] {
        all.insert(name.into(), settings["samples"][name].clone());
    }
    // By gradients all layers are pruned, and nothing is said of it.
    for name in ["limit_layers", "only_layers"] {
        let of_layers = match &settings[name] {
            Value::Array(layers) if layers.is_empty() => Value::Null,
            layers => layers.clone(),
        };
        all.insert(name.into(), of_layers);
    }
    all.into()
}

/// The comparison that was begun, if it is of the same settings as `fresh`.
fn earlier(file: &Path, text: &[u8], fresh: &CompareReport) -> Result<CompareReport, RunError> {
    let damaged = |reason: String| {
        let file = file.display();
        RunError::BadComparison(format!(
            "{file}: damaged ({reason}); delete it, or give another `output`"
        ))
    };
    let report: CompareReport = serde_json::from_slice(text).map_err(|e| damaged(e.to_string()))?;
    if report.version != VERSION {
        return Err(damaged(format!("version {}", report.version)));
    }
    same(file, "", &report.settings, &fresh.settings)?;
    Ok(report)
}

/// Fails, listing what differs, unless both are the same.
fn same(file: &Path, name: &str, then: &Value, now: &Value) -> Result<(), RunError> {
    let differences = differences(then, now);
    if differences.is_empty() {
        return Ok(());
    }
    let what = if name.is_empty() {
        "".into()
    } else {
        format!("row {name} ")
    };
    Err(RunError::BadComparison(format!(
        "{}: {what}was made with other settings ({}); give the same again, or another `output`",
        file.display(),
        differences.join("; ")
    )))
}
