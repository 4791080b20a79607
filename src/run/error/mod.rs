//! Everything that can stop a run.

mod state;
mod statistics;

use crate::calib::CalibError;
use crate::checkpoint::CheckpointError;
use crate::eval::EvalError;
use crate::gpu::GpuError;
use crate::model::{ActivationError, ModelError};
use crate::prune::PruneError;

pub use state::StateError;
pub use statistics::StatisticsError;

/// Errors of a run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// Ctrl-C before anything worth keeping was done.
    #[error("interrupted; nothing was written to `{output}`")]
    NothingWritten {
        /// Output folder.
        output: String,
    },
    /// Something stopped a run of which some steps are kept.
    #[error("{error}; {done} are done and kept in `{output}`: the same command with `resume` goes on from there")]
    Suspended {
        /// What stopped it.
        error: Box<RunError>,
        /// Output folder.
        output: String,
        /// What is kept, such as `3 of 12 decoder layers`.
        done: String,
    },
    /// A correction ran away.
    #[error("{tensor}: its correction is not finite; start again with a lower `lora-rate`")]
    Diverged {
        /// The linear.
        tensor: String,
    },
    /// Something stopped a comparison.
    #[error(
        "{error}; {done} of {rows} rows are done and kept in `{output}`: the same command goes on with the missing ones"
    )]
    Paused {
        /// What stopped it.
        error: Box<RunError>,
        /// Output folder.
        output: String,
        /// Rows done.
        done: usize,
        /// Rows asked for.
        rows: usize,
    },
    /// A comparison that cannot be gone on with.
    #[error("{0}")]
    BadComparison(String),
    /// A memory limit that cannot be kept.
    #[error("{what} of {} MiB is too little: at least {} MiB are needed; {advice}", budget >> 20, needed.div_ceil(1 << 20))]
    OverBudget {
        /// The flag.
        what: String,
        /// Its value, bytes.
        budget: u64,
        /// Bytes needed.
        needed: u64,
        /// What takes the memory and what would take less.
        advice: String,
    },
    /// A method that does not exist.
    #[error("unknown method `{name}`; choose one of {known}")]
    UnknownMethod {
        /// What was asked for.
        name: String,
        /// What exists.
        known: String,
    },
    /// A setting out of range.
    #[error("{0}")]
    Setting(String),
    /// A written checkpoint does not have the sizes that were promised.
    #[error("verification failed: {output} was written with {found} instead of {wanted}; report this as a bug")]
    WrongSizes {
        /// Output folder.
        output: String,
        /// Sizes read back.
        found: String,
        /// Those promised.
        wanted: String,
    },
    /// The written files do not hold what was computed.
    #[error(
        "verification failed: `{tensor}` in {output} has {found} zeros, {wanted} were written; the disk may be faulty, the output cannot be trusted"
    )]
    Verification {
        /// Output folder.
        output: String,
        /// Tensor name.
        tensor: String,
        /// Zeros read back.
        found: usize,
        /// Zeros written.
        wanted: usize,
    },
    /// An unfinished run that cannot be kept or continued.
    #[error(transparent)]
    State(#[from] StateError),
    /// Saved statistics that cannot be used.
    #[error(transparent)]
    Statistics(#[from] StatisticsError),
    /// A checkpoint problem.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A text problem.
    #[error(transparent)]
    Calib(#[from] CalibError),
    /// A problem with the activations between layers.
    #[error(transparent)]
    Activations(#[from] ActivationError),
    /// A device problem.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A model problem.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A pruning problem.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// An evaluation problem.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

impl RunError {
    /// Adds how to go on, if anything is `kept`. What is done is never thrown away: also a damaged weight of a later layer can
    /// be mended.
    pub(super) fn keeping(self, output: &std::path::Path, kept: Option<String>) -> Self {
        let output = output.display().to_string();
        match (self, kept) {
            (RunError::Interrupted, None) => RunError::NothingWritten { output },
            (error @ (RunError::Verification { .. } | RunError::WrongSizes { .. }), _) | (error, None) => error,
            (error, Some(done)) => RunError::Suspended {
                error: Box::new(error),
                output,
                done,
            },
        }
    }
}
