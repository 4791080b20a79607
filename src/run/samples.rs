//! The calibration tokens of a run.

use super::RunError;
use super::plan::Plan;
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
    let set = samples(plan, checkpoint)?;
    super::memory::give_back();
    Ok((calibration_record(&plan.options, &set), Some(set.ids)))
}

fn samples(plan: &Plan, checkpoint: &Checkpoint) -> Result<CalibrationSet, RunError> {
    let corpus = Corpus::read(&plan.options.calibration)?;
    let tokenizer = Tokenizer::open(checkpoint.dir())?;
    Ok(draw(&corpus, &tokenizer, &plan.options.samples)?)
}
