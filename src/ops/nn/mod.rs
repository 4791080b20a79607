//! Ops of a transformer's forward pass and of its evaluation: everything between the matrix products.
//!
//! Rows are tokens; several sequences of equal length lie one after another. The vocabulary is never materialised:
//! [`embed()`] takes windows of the table, [`cross_entropy()`] and [`divergence()`] merge tiles of logits.

mod activation;
mod attention;
mod cross_entropy;
mod divergence;
mod embed;
mod gate;
mod layer_norm;
mod rms_norm;
mod rope;
mod soft_cap;

pub use activation::{ACTIVATION, Activation, activation};
pub use attention::{ATTENTION, AttentionShape, attention, attention_with};
pub use cross_entropy::{CROSS_ENTROPY, cross_entropy};
pub use divergence::{DIVERGENCE, divergence};
pub use embed::{EMBED, embed};
pub use gate::{GATE, gate};
pub use layer_norm::{LAYER_NORM, layer_norm};
pub use rms_norm::{RMS_NORM, rms_norm};
pub use rope::{ROPE, RopeShape, rope};
pub use soft_cap::{SOFT_CAP, soft_cap};

use crate::gpu::Kernel;

/// Kernels of this room.
pub const KERNELS: &[&Kernel] = &[
    &EMBED,
    &RMS_NORM,
    &LAYER_NORM,
    &ROPE,
    &ATTENTION,
    &GATE,
    &ACTIVATION,
    &SOFT_CAP,
    &CROSS_ENTROPY,
    &DIVERGENCE,
];
