//! Flags of methods by gradients.

use crate::run::{FactorPlace, Fisher};

/// What only methods by gradients have.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "LLM Surgeon (--method surgeon or kfac-fista)")]
pub(super) struct SurgeonArgs {
    /// Number of steps (shots) towards the target. Each estimates the curvature anew by a forward and a backward pass.
    /// Published runs use 40 [default: 5]
    #[arg(long, value_name = "N")]
    pub(super) shots: Option<usize>,
    /// Use the same calibration samples in every shot, as published. Otherwise each shot draws its own --samples, as
    /// far as the text goes
    #[arg(long)]
    pub(super) same_samples: bool,
    /// Damping of the curvature factor of the outputs (gradients), as a fraction of its mean diagonal. For the factor
    /// of the inputs see --damping [default: 0.1, or 0.01 with --structure]
    #[arg(long, value_name = "FRACTION", allow_negative_numbers = true)]
    pub(super) output_damping: Option<f64>,
    /// Target tokens of the backward passes [default: empirical]
    #[arg(long, value_enum, value_name = "TARGETS")]
    pub(super) fisher: Option<Fisher>,
    /// Half-steps from K-FAC's curvature factors towards the nearest Kronecker product. Each adds a forward and a
    /// backward pass to every shot. Published unstructured runs use 10 [default: 0]
    #[arg(long, value_name = "N")]
    pub(super) half_steps: Option<usize>,
    /// Where the curvature factors are kept between the two passes of a shot. The result is the same [default: auto]
    #[arg(long, value_enum, value_name = "PLACE")]
    pub(super) factors: Option<FactorPlace>,
    /// Number of removed weights whose loss one solve compensates. The solves go through all removed weights in chunks
    /// of this size. Published runs use 2000 with --refit 0. With 0, the refit compensates for all of them together,
    /// which loses less and takes a fraction of the time [default: 0]
    #[arg(long, value_name = "N")]
    pub(super) max_correlate: Option<usize>,
    /// Training steps of a low-rank correction (LoRA) of all linear layers after each shot. Each step needs a forward
    /// and a backward pass on one of the calibration samples of all shots. The correction is merged into the weights,
    /// and zeros stay zero [default: 0]
    #[arg(long, value_name = "N")]
    pub(super) lora_steps: Option<usize>,
    /// Rank of the low-rank correction [default: 8]
    #[arg(long, value_name = "RANK", requires = "lora_steps")]
    pub(super) lora_rank: Option<usize>,
    /// Learning rate of the low-rank correction. It falls linearly to zero within each shot [default: 0.003]
    #[arg(long, value_name = "RATE", allow_negative_numbers = true, requires = "lora_steps")]
    pub(super) lora_rate: Option<f64>,
}
