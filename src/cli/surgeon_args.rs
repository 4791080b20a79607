//! Flags of methods by gradients.

use crate::run::{FactorPlace, Fisher};

/// What only methods by gradients have.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "LLM Surgeon (--method surgeon or kfac-fista)")]
pub(super) struct SurgeonArgs {
    /// Steps to the target, each with a forward and backward pass for the curvature; published runs take 40 [default: 5]
    #[arg(long, value_name = "N")]
    pub(super) shots: Option<usize>,
    /// Show every shot the same calibration samples, as published; else each has --samples of its own, as far as the text goes
    #[arg(long)]
    pub(super) same_samples: bool,
    /// Damping of the curvature of outputs (gradients), as a fraction of its mean; that of inputs is --damping [default: 0.1, or 0.01 with
    /// --structure]
    #[arg(long, value_name = "FRACTION", allow_negative_numbers = true)]
    pub(super) output_damping: Option<f64>,
    /// Targets of the backward passes [default: empirical]
    #[arg(long, value_enum, value_name = "TARGETS")]
    pub(super) fisher: Option<Fisher>,
    /// Half-steps from K-FAC's curvature towards the nearest Kronecker product, each a forward and backward pass more a shot;
    /// published unstructured runs take 10 [default: 0]
    #[arg(long, value_name = "N")]
    pub(super) half_steps: Option<usize>,
    /// Where the curvature factors are between the two passes of a shot: on disk, or gathered again by a second backward pass, which
    /// gives the same result and takes longer; `auto` asks whether the disk has room [default: auto]
    #[arg(long, value_enum, value_name = "PLACE")]
    pub(super) factors: Option<FactorPlace>,
    /// Removed weights that the others make up for in one solve, chunk after chunk; published runs take 2000 with --refit 0. By
    /// default the refit makes up for all of them together, which loses less and takes a fraction of the time [default: 0]
    #[arg(long, value_name = "N")]
    pub(super) max_correlate: Option<usize>,
    /// Steps of a low-rank correction of all linears after each shot (LoRA, learned on the calibration samples of all shots, one a step, and
    /// absorbed; zeros stay zero); each costs a forward and backward pass of a sample [default: 0]
    #[arg(long, value_name = "N")]
    pub(super) lora_steps: Option<usize>,
    /// Rank of that correction [default: 8]
    #[arg(long, value_name = "RANK", requires = "lora_steps")]
    pub(super) lora_rank: Option<usize>,
    /// Its learning rate, which falls linearly to zero within each shot [default: 0.003]
    #[arg(long, value_name = "RATE", allow_negative_numbers = true, requires = "lora_steps")]
    pub(super) lora_rate: Option<f64>,
}
