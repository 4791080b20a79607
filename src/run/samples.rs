//! The calibration tokens of a run.

use super::RunError;
use super::options::PruneOptions;
use super::predict::resident::give_back;
use crate::calib::{CalibError, CalibrationSet, Corpus, SampleSpec, Tokenizer, draw};
use crate::checkpoint::Checkpoint;

/// Does work with a tokenizer on a thread of its own, and gives back what it leaves: a tokenizer keeps the words it has seen
/// for as long as the thread lives, and every one of them holds a page of what was freed around it.
pub(super) fn tokenising<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let done = std::thread::scope(|scope| scope.spawn(work).join());
    give_back();
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Rows of a calibration set.
pub(super) type TokenIds = Vec<Vec<u32>>;

/// Samples for each of several passes over the model.
pub(super) struct SampleSets {
    /// One set after the other.
    pub(super) all: CalibrationSet,
    each: usize,
}

impl SampleSets {
    /// As many sets of the options' size as are wanted, or as the text has, at least one. Several are dealt out of one draw,
    /// so that each is from all over the text.
    pub(super) fn draw(options: &PruneOptions, checkpoint: &Checkpoint, wanted: usize) -> Result<Self, RunError> {
        tokenising(|| Self::drawn(options, checkpoint, wanted))
    }

    fn drawn(options: &PruneOptions, checkpoint: &Checkpoint, wanted: usize) -> Result<Self, RunError> {
        let corpus = Corpus::read(&options.calibration)?;
        let tokenizer = Tokenizer::open(checkpoint.dir())?;
        let each = options.samples.samples;
        let draw = |sets: usize| {
            let samples = each.saturating_mul(sets);
            draw(
                &corpus,
                &tokenizer,
                &SampleSpec {
                    samples,
                    ..options.samples
                },
            )
        };
        let mut all = match draw(wanted) {
            Err(CalibError::TextTooShort { windows, .. }) => draw((windows / each.max(1)).max(1)),
            drawn => drawn,
        }?;
        let sets = all.ids.len() / each;
        all.ids = (0..sets)
            .flat_map(|set| all.ids.iter().skip(set).step_by(sets))
            .cloned()
            .collect();
        Ok(SampleSets { all, each })
    }

    /// Sets there are.
    pub(super) fn count(&self) -> usize {
        self.all.ids.len() / self.each
    }

    /// Those of a pass; from the first set on again where there are fewer than passes.
    pub(super) fn of(&self, pass: usize) -> &[Vec<u32>] {
        let first = pass % self.count() * self.each;
        &self.all.ids[first..first + self.each]
    }
}
