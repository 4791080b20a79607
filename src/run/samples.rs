//! The calibration tokens of a run.

use super::RunError;
use super::plan::{Plan, PruneOptions};
use super::report::calibration_record;
use super::walk::Progress;
use crate::calib::{CalibrationSet, Corpus, Tokenizer, draw};
use crate::checkpoint::Checkpoint;
use crate::report::CalibrationRecord;

/// Rows of a calibration set.
pub(super) type TokenIds = Vec<Vec<u32>>;

/// What the tokens are, and the tokens themselves unless their sums were saved before.
pub(super) fn calibration(
    plan: &Plan,
    checkpoint: &Checkpoint,
    progress: &mut dyn Progress,
) -> Result<(CalibrationRecord, Option<TokenIds>), RunError> {
    if let Some(statistics) = &plan.statistics {
        progress.stage("prune from saved statistics");
        return Ok((statistics.manifest.calibration.clone(), None));
    }
    progress.stage("tokenise and embed");
    let set = samples(&plan.options, checkpoint)?;
    Ok((calibration_record(&plan.options, &set), Some(set.ids)))
}

/// Draws the samples.
pub(super) fn samples(options: &PruneOptions, checkpoint: &Checkpoint) -> Result<CalibrationSet, RunError> {
    let corpus = Corpus::read(&options.calibration)?;
    let tokenizer = Tokenizer::open(checkpoint.dir())?;
    let set = draw(&corpus, &tokenizer, &options.samples)?;
    drop((corpus, tokenizer));
    super::memory::give_back();
    Ok(set)
}
