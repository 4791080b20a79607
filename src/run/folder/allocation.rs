//! What the pass before a prune found, beside the state: a resumed run need not go through the model for it again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Replacement, STATE_FOLDER};
use crate::run::StateError;

/// What the pass found, by tensor name.
#[derive(Serialize, Deserialize)]
pub(in crate::run) struct Allocated {
    /// Sparsity.
    pub(in crate::run) shares: BTreeMap<String, f64>,
    /// How much the error of each output counts, one on average; none where all count alike.
    pub(in crate::run) outputs: BTreeMap<String, Vec<f64>>,
}

/// In the state folder.
const ALLOCATION_FILE: &str = "allocation.json";

/// Keeps it for the unfinished run in `output`; durable when this returns.
pub(in crate::run) fn keep_allocation(output: &Path, found: &Allocated) -> Result<(), StateError> {
    let file = output.join(STATE_FOLDER).join(ALLOCATION_FILE);
    let write = || {
        let mut replacement = Replacement::create(&file)?;
        let mut buffered = BufWriter::new(replacement.file());
        serde_json::to_writer(&mut buffered, found)?;
        buffered.flush()?;
        drop(buffered);
        replacement.finish()
    };
    write().map_err(|error| StateError::io(&file, "write", error))
}

/// What was kept.
pub(in crate::run) fn kept_allocation(output: &Path) -> Result<Allocated, StateError> {
    let file = output.join(STATE_FOLDER).join(ALLOCATION_FILE);
    let damaged = |reason: String| StateError::Damaged {
        file: file.clone(),
        output: output.into(),
        reason,
    };
    match File::open(&file) {
        Ok(open) => serde_json::from_reader(BufReader::new(open)).map_err(|error| damaged(error.to_string())),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(damaged("it is missing".into())),
        Err(error) => Err(StateError::io(&file, "read", error)),
    }
}
