//! Why a checkpoint cannot be run.

use super::ActivationError;
use crate::checkpoint::CheckpointError;
use crate::gpu::GpuError;

/// Errors of loading or running a model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No family file matches.
    #[error(
        "{file}: architecture {found} is not supported (supported: {supported}); `prune` by `method` magnitude still prunes \
         its weights, and `family` takes a file that describes it (models/README.md)"
    )]
    UnknownArchitecture {
        /// The `config.json`.
        file: String,
        /// What it names.
        found: String,
        /// What we know.
        supported: String,
    },
    /// A family file cannot be used.
    #[error("{file}: {message}; the fields are described in models/README.md")]
    BadFamily {
        /// The family file.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// The family is known, but a switch of this checkpoint is not.
    #[error("{file}: `{key}` is {found}, which is not supported for this family ({supported})")]
    UnsupportedSetting {
        /// The `config.json`.
        file: String,
        /// Key in it.
        key: String,
        /// Its value.
        found: String,
        /// What would work.
        supported: String,
    },
    /// A size in `config.json` makes no sense.
    #[error("{file}: {message}")]
    BadSize {
        /// The `config.json`.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// A weight is NaN or infinite.
    #[error(
        "{file}: tensor `{tensor}` holds a non-finite value ({value} at element {element}); the checkpoint is damaged, fetch it again"
    )]
    NonFiniteWeight {
        /// Shard.
        file: String,
        /// Tensor name.
        tensor: String,
        /// First offending element.
        element: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// A token id lies beyond the embedding.
    #[error(
        "token id {id} is beyond the model's vocabulary of {vocabulary}: tokenizer.json does not belong to this model"
    )]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// Rows of the embedding.
        vocabulary: usize,
    },
    /// Activations that cannot be kept.
    #[error(transparent)]
    Activations(#[from] ActivationError),
    /// A file problem.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A device problem.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}
