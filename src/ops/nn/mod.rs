//! Ops of a transformer's forward pass and of its evaluation: everything between the matrix products.
//!
//! Rows are tokens; several sequences of equal length lie one after another. The vocabulary is never materialised:
//! [`embed()`] takes windows of the table, [`cross_entropy()`] and [`divergence()`] merge tiles of logits.

mod attention;
mod cross_entropy;
mod divergence;
mod embed;
mod rms_norm;
mod rope;
mod silu_gate;

pub use attention::{ATTENTION, AttentionShape, attention, attention_with};
pub use cross_entropy::{CROSS_ENTROPY, cross_entropy};
pub use divergence::{DIVERGENCE, divergence};
pub use embed::{EMBED, embed};
pub use rms_norm::{RMS_NORM, rms_norm};
pub use rope::{ROPE, RopeShape, rope};
pub use silu_gate::{SILU_GATE, silu_gate};

use crate::gpu::Kernel;

/// Kernels of this room.
pub const KERNELS: &[&Kernel] = &[
    &EMBED,
    &RMS_NORM,
    &ROPE,
    &ATTENTION,
    &SILU_GATE,
    &CROSS_ENTROPY,
    &DIVERGENCE,
];
