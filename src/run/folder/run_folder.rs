//! The output folder of a run that can stop and go on: how it begins, what an earlier run left there, how far it came.

use std::path::{Path, PathBuf};

use super::state::{RunIdentity, RunState};
use crate::checkpoint::{Checkpoint, CheckpointError, CheckpointWriter, NewFolder, STATE_FILE, STATE_FOLDER};
use crate::model::Activations;
use crate::run::RunError;

/// What a step that is kept belongs to.
pub(in crate::run) struct Step<'s> {
    /// Steps done with it.
    pub(in crate::run) done: usize,
    /// The report so far.
    pub(in crate::run) report: serde_json::Value,
    /// What the run has found beside it; null if nothing.
    pub(in crate::run) found: serde_json::Value,
    /// Activations that enter the next step.
    pub(in crate::run) streams: &'s [&'s Activations],
}

/// The folder. Dropped before the first step is kept it goes, with all that the run wrote; afterwards it stays.
pub(in crate::run) struct RunFolder {
    folder: NewFolder,
    identity: Option<RunIdentity>,
    earlier: Option<RunState>,
    done: usize,
}

impl RunFolder {
    /// Takes `output`, which will hold `needed` bytes, for a run on `source`: it must be new or empty, or, to `resume`, hold
    /// what a run left. `result` is the file without which an output is not complete.
    pub(in crate::run) fn begin(
        source: &Checkpoint,
        (output, needed): (&Path, u64),
        resume: bool,
        result: Option<&str>,
    ) -> Result<Self, RunError> {
        let state = Path::new(STATE_FOLDER).join(STATE_FILE);
        let folder = match resume {
            false => NewFolder::create(source, output, needed)?,
            true => {
                // With a state all files may be there, but not checked yet.
                if !output.join(&state).is_file() {
                    match result {
                        None => CheckpointWriter::refuse_complete(source, output)?,
                        Some(file) if output.join(file).is_file() => {
                            return Err(CheckpointError::NothingToResume { dir: output.into() }.into());
                        }
                        Some(_) => {}
                    }
                }
                NewFolder::create_or_continue(source, output, needed, &state.to_string_lossy())?
            }
        };
        let earlier = if resume { RunState::load(output)? } else { None };
        Ok(RunFolder {
            folder,
            identity: None,
            earlier,
            done: 0,
        })
    }

    /// Takes `output` for a run whose `file` of results says itself how far it came: a new or empty folder, or the one that
    /// holds it.
    pub(in crate::run) fn of_results(
        source: &Checkpoint,
        (output, needed): (&Path, u64),
        file: &str,
    ) -> Result<Self, RunError> {
        Ok(RunFolder {
            folder: NewFolder::create_or_continue(source, output, needed, file)?,
            identity: None,
            earlier: None,
            done: 0,
        })
    }

    /// Results are in place: from now on a failure leaves what is there.
    pub(in crate::run) fn keep(&mut self) {
        self.folder.keep();
    }

    /// Says what the run is, and gives what an earlier one found, which must be the same.
    pub(in crate::run) fn identify(&mut self, identity: RunIdentity) -> Result<Option<RunState>, RunError> {
        let earlier = self.earlier.take();
        if let Some(state) = &earlier {
            state.check(&identity, self.folder.path())?;
            self.done = state.layers_done;
            self.folder.keep();
        }
        self.identity = Some(identity);
        Ok(earlier)
    }

    /// Keeps a step. Durable when it returns; what the step consists of must be on the disk before.
    pub(in crate::run) fn commit(&mut self, step: Step<'_>) -> Result<(), RunError> {
        let identity = self
            .identity
            .clone()
            .expect("a run is identified before its first step");
        let state = RunState::new(identity, step.done, step.report, step.streams.len()).with(step.found);
        state.commit(self.folder.path(), step.streams)?;
        self.folder.keep();
        self.done = step.done;
        Ok(())
    }

    /// Steps that are kept.
    pub(in crate::run) fn done(&self) -> usize {
        self.done
    }

    /// Adds to an error how to go on, if a step is kept; `kept` says what is.
    pub(in crate::run) fn suspended(&self, error: RunError, kept: String) -> RunError {
        error.keeping(self.folder.path(), (self.done > 0).then_some(kept))
    }

    /// Where it is.
    pub(in crate::run) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder in it for what is needed only until it is finished.
    pub(in crate::run) fn state(&self) -> PathBuf {
        self.folder.state()
    }

    /// A place in it for what is needed only until it is finished.
    pub(in crate::run) fn place(&self, name: &str) -> PathBuf {
        self.folder.state().join(name)
    }

    /// Notes a file that goes if the run fails before its first step is kept.
    pub(in crate::run) fn note(&mut self, path: &Path) {
        self.folder.note(path);
    }

    /// A failure to write `path`.
    pub(in crate::run) fn failed(&self, path: &Path, error: std::io::Error) -> CheckpointError {
        self.folder.failed(path, error)
    }

    /// All files are there: nothing is left to resume.
    pub(in crate::run) fn finish(self) -> Result<(), RunError> {
        Ok(self.folder.finish()?)
    }
}
