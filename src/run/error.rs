//! Everything that can stop a run.

use crate::calib::CalibError;
use crate::checkpoint::CheckpointError;
use crate::eval::EvalError;
use crate::gpu::GpuError;
use crate::model::ModelError;
use crate::prune::PruneError;

/// Errors of a run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Ctrl-C.
    #[error("interrupted; nothing was written to `{output}`")]
    Interrupted {
        /// Output folder.
        output: String,
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
    /// A checkpoint problem.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A text problem.
    #[error(transparent)]
    Calib(#[from] CalibError),
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
