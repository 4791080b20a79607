//! How far an unfinished run came: `<output>/.secateur/state.json` and, beside it, the activations of the next layer and
//! what the pass before the first one found.
//!
//! A commit writes the activations, then the state that names them, then removes the older activations. Each file
//! takes its name only when it is whole and on the disk, so at any moment the state names activations that are there.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::checkpoint::{Checkpoint, Replacement, STATE_FILE, STATE_FOLDER, sync_folder};
use crate::gpu::Gpu;
use crate::model::{ActivationError, ActivationOptions, Activations};
use crate::report::CalibrationRecord;
use crate::run::StateError;

/// Of the file's fields.
const VERSION: u32 = 1;

/// What the result of a run depends on. A run may be continued only by one of equal identity.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunIdentity {
    /// [`crate::checkpoint::Checkpoint::fingerprint`] of the source.
    pub model: String,
    /// Hash of the calibration tokens.
    pub tokens: String,
    /// All settings that shape the result.
    pub settings: Value,
}

/// Adds to settings what a device was asked to round.
pub(in crate::run) fn add_rounding(settings: &mut Value, gpu: &Gpu) {
    if gpu.half_attention() {
        settings["half_attention"] = true.into();
    }
}

impl RunIdentity {
    /// Of a run with these settings on `model` and the tokens of `calibration`.
    pub(in crate::run) fn of(model: &Checkpoint, calibration: &CalibrationRecord, settings: &Value) -> Self {
        RunIdentity {
            model: model.fingerprint(),
            tokens: calibration.token_hash.clone(),
            settings: settings.clone(),
        }
    }

    /// BLAKE3, as hex, of all of it; the order of keys in the settings does not matter.
    pub fn key(&self) -> String {
        let text = canonical(&serde_json::to_value(self).expect("plain data")).to_string();
        blake3::hash(text.as_bytes()).to_string()
    }

    /// `name: then, now` of everything that differs.
    fn differences(&self, now: &RunIdentity) -> Vec<String> {
        let mut out = Vec::new();
        for (name, then, now) in [
            ("model", &self.model, &now.model),
            ("calibration tokens", &self.tokens, &now.tokens),
        ] {
            if then != now {
                out.push(format!("{name} (another fingerprint)"));
            }
        }
        compare("", &self.settings, &now.settings, &mut out);
        out
    }
}

/// An unfinished run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunState {
    version: u32,
    /// [`RunIdentity::key`].
    pub key: String,
    /// What the key was made of.
    pub identity: RunIdentity,
    /// Decoder layers whose weights are all in the output.
    pub layers_done: usize,
    /// The report so far.
    pub report: Value,
    /// File name of the activations that enter layer `layers_done`; none are needed after the last one.
    pub activations: Option<String>,
    /// Likewise of the dense model's, if they are kept beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dense_activations: Option<String>,
    /// What the run has found beside its report.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub found: Value,
}

/// The steps of a commit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Folder,
    Activations,
    State,
    Older,
}

impl Step {
    const ALL: [Step; 4] = [Step::Folder, Step::Activations, Step::State, Step::Older];
}

impl RunState {
    /// The state of a run after `layers_done` layers; `streams` says how many of activations go with it, at most two.
    pub fn new(identity: RunIdentity, layers_done: usize, report: Value, streams: usize) -> Self {
        RunState {
            version: VERSION,
            key: identity.key(),
            identity,
            layers_done,
            report,
            activations: (streams > 0).then(|| format!("activations-{layers_done}.bin")),
            dense_activations: (streams > 1).then(|| format!("activations-{layers_done}-dense.bin")),
            found: Value::Null,
        }
    }

    /// With what the run has found beside its report.
    pub(in crate::run) fn with(self, found: Value) -> Self {
        RunState { found, ..self }
    }

    /// Makes this the state of the run in `output`. Durable when it returns; a crash before leaves the state before.
    ///
    /// The weights of the layers done must be on the disk already
    /// ([`crate::checkpoint::CheckpointWriter::sync`]). `activations` are as many as [`RunState::new`] was told.
    pub fn commit(&self, output: &Path, activations: &[&Activations]) -> Result<(), StateError> {
        assert_eq!(self.files().count(), activations.len(), "activations of the state");
        Step::ALL
            .into_iter()
            .try_for_each(|step| self.step(step, output, activations))
    }

    /// Names of its files of activations.
    fn files(&self) -> impl Iterator<Item = &String> {
        self.activations.iter().chain(&self.dense_activations)
    }

    fn step(&self, step: Step, output: &Path, activations: &[&Activations]) -> Result<(), StateError> {
        let folder = output.join(STATE_FOLDER);
        let failed = |e| StateError::io(&folder, "write", e);
        match step {
            Step::Folder if folder.is_dir() => Ok(()),
            Step::Folder => fs::create_dir(&folder)
                .and_then(|()| sync_folder(output))
                .map_err(failed),
            Step::Activations => {
                let mut named = self.files().zip(activations);
                named.try_for_each(|(name, activations)| Ok(activations.save_to(&folder.join(name))?))
            }
            Step::State => {
                let text = serde_json::to_vec_pretty(self).expect("plain data");
                Replacement::write(&folder.join(STATE_FILE), &text).map_err(failed)
            }
            Step::Older => self.remove_older(&folder).map_err(failed),
        }
    }

    /// Activations that this state does not name, and what a crash left half-written.
    fn remove_older(&self, folder: &Path) -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("activations-") && !self.files().any(|file| *file == name) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The state of the unfinished run in `output`; `None` if there is none.
    pub fn load(output: &Path) -> Result<Option<RunState>, StateError> {
        let file = output.join(STATE_FOLDER).join(STATE_FILE);
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(e)
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(e) => return Err(StateError::io(&file, "read", e)),
        };
        let damaged = |reason: String| StateError::Damaged {
            file: file.clone(),
            output: output.into(),
            reason,
        };
        let value: Value = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        match value["version"].as_u64() {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) => {
                let output = output.into();
                return Err(StateError::Version { file, output, version });
            }
            None => return Err(damaged("it has no version".into())),
        }
        let state: RunState = serde_json::from_value(value).map_err(|e| damaged(e.to_string()))?;
        if let Some(path) = state.paths(output).into_iter().find(|path| !path.is_file()) {
            return Err(damaged(format!("{} is missing", path.display())));
        }
        Ok(Some(state))
    }

    /// Fails, listing what differs, unless a run of identity `now` may continue this one in `output`.
    pub fn check(&self, now: &RunIdentity, output: &Path) -> Result<(), StateError> {
        if self.key == now.key() {
            return Ok(());
        }
        // Read back as the other one was: numbers must not differ by how they were read.
        let text = serde_json::to_string(now).expect("plain data");
        let differences = self
            .identity
            .differences(&serde_json::from_str(&text).expect("its own text"));
        let output = output.to_path_buf();
        match differences.is_empty() {
            true => Err(StateError::Damaged {
                file: output.join(STATE_FOLDER).join(STATE_FILE),
                output,
                reason: "its key does not fit its settings".into(),
            }),
            false => {
                let differences = differences.join("; ");
                Err(StateError::Differs { output, differences })
            }
        }
    }

    /// The activations that enter the next layer, as many as were committed; `options` say where to keep them.
    pub fn load_activations(
        &self,
        output: &Path,
        options: &ActivationOptions,
    ) -> Result<Vec<Activations>, ActivationError> {
        let paths = self.paths(output).into_iter();
        paths.map(|path| Activations::load_from(&path, options)).collect()
    }

    /// Its files of activations. A name is only looked for in the state's own folder.
    fn paths(&self, output: &Path) -> Vec<PathBuf> {
        let names = self.files().filter_map(|name| Path::new(name).file_name());
        names.map(|name| output.join(STATE_FOLDER).join(name)).collect()
    }
}

/// `name was then and is now` of every leaf of settings that differs. `now` is read back as `then` was, so that numbers
/// do not differ by how they were read.
pub(in crate::run) fn differences(then: &Value, now: &Value) -> Vec<String> {
    let now = serde_json::from_str(&now.to_string()).expect("its own text");
    let mut out = Vec::new();
    compare("", then, &now, &mut out);
    out
}

/// The same with the keys of all objects in order.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let entries = entries.into_iter().map(|(key, value)| (key.clone(), canonical(value)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(canonical).collect(),
        other => other.clone(),
    }
}

/// Adds `name: then, now` for every leaf that differs; nested names are joined with dots.
fn compare(name: &str, then: &Value, now: &Value, out: &mut Vec<String>) {
    match (then, now) {
        (Value::Object(a), Value::Object(b)) => {
            let added = b.keys().filter(|key| !a.contains_key(*key));
            for key in a.keys().chain(added) {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                let absent = &Value::Null;
                compare(&name, a.get(key).unwrap_or(absent), b.get(key).unwrap_or(absent), out);
            }
        }
        _ if then == now => {}
        _ => out.push(format!("{name} was {then} and is {now}")),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
