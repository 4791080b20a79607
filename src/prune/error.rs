//! Why a layer cannot be pruned.

use crate::gpu::GpuError;

/// Errors of patterns and layer problems.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// A pattern that cannot be meant.
    #[error("{0}")]
    Pattern(String),
    /// An option that a method does not have, or a value it cannot have.
    #[error("option {name} of method {method}: {why}")]
    MethodOption {
        /// The method.
        method: &'static str,
        /// The option.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// M does not divide the width of a linear.
    #[error("pattern {n}:{m} needs a width divisible by {m}, but `{tensor}` has {cols} inputs; choose another pattern")]
    Width {
        /// Tensor name.
        tensor: String,
        /// Kept per group.
        n: usize,
        /// Group length.
        m: usize,
        /// Width of the tensor.
        cols: usize,
    },
    /// A Gram matrix is not finite.
    #[error(
        "activations at {place} are not finite (input {index}); the model overflows there or the checkpoint is damaged"
    )]
    NonFiniteActivations {
        /// Layer and activation site.
        place: String,
        /// First offending input.
        index: usize,
    },
    /// A factor of the curvature is not finite.
    #[error(
        "the curvature at {place} is not finite (channel {index}); a gradient or an activation overflows there or the checkpoint is damaged"
    )]
    NonFiniteCurvature {
        /// Layer and linear.
        place: String,
        /// First offending channel.
        index: usize,
    },
    /// The weights found are not finite, or not as stored.
    #[error("the pruned weights of `{tensor}` are not finite; try another `method` or more `damping`")]
    NonFiniteSolution {
        /// Tensor name.
        tensor: String,
    },
    /// No damping made a Gram matrix positive definite.
    #[error(
        "the Gram matrix at {place} cannot be factorised (input {index}), not even with its diagonal doubled; use more calibration text"
    )]
    NotPositive {
        /// Layer and activation site.
        place: String,
        /// First pivot that failed.
        index: usize,
    },
    /// A device problem.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}
