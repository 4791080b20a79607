//! Ops of a transformer's forward and backward pass and of its evaluation: everything between the matrix products.
//!
//! Rows are tokens; several sequences of equal length lie one after another. The vocabulary is never materialised:
//! [`embed()`] takes windows of the table, [`cross_entropy()`] and [`divergence()`] merge tiles of logits.

mod activation;
mod activation_backward;
mod attention;
mod attention_backward;
mod cross_entropy;
mod cross_entropy_backward;
mod divergence;
mod embed;
mod gate;
mod gate_backward;
mod layer_norm;
mod layer_norm_backward;
mod rms_norm;
mod rms_norm_backward;
mod rope;
mod soft_cap;
mod soft_cap_backward;

pub use activation::{ACTIVATION, Activation, activation};
pub use activation_backward::{ACTIVATION_BACKWARD, activation_backward};
pub use attention::{ATTENTION, ATTENTION_HALF, AttentionShape, attention, attention_with};
pub use attention_backward::{
    ATTENTION_BACKWARD_KEYS, ATTENTION_BACKWARD_QUERIES, AttentionBackward, attention_backward, attention_backward_with,
};
pub use cross_entropy::{CROSS_ENTROPY, cross_entropy};
pub use cross_entropy_backward::{CROSS_ENTROPY_BACKWARD, cross_entropy_backward};
pub use divergence::{DIVERGENCE, divergence};
pub use embed::{EMBED, embed};
pub use gate::{GATE, gate};
pub use gate_backward::{GATE_BACKWARD, gate_backward};
pub use layer_norm::{LAYER_NORM, layer_norm};
pub use layer_norm_backward::{LAYER_NORM_BACKWARD, layer_norm_backward};
pub use rms_norm::{RMS_NORM, rms_norm};
pub use rms_norm_backward::{RMS_NORM_BACKWARD, rms_norm_backward};
pub use rope::{ROPE, RopeShape, rope, rope_backward};
pub use soft_cap::{SOFT_CAP, soft_cap};
pub use soft_cap_backward::{SOFT_CAP_BACKWARD, soft_cap_backward};

use crate::gpu::Kernel;

/// Kernels of this room.
pub const KERNELS: &[&Kernel] = &[
    &EMBED,
    &RMS_NORM,
    &LAYER_NORM,
    &ROPE,
    &ATTENTION,
    &ATTENTION_HALF,
    &GATE,
    &ACTIVATION,
    &SOFT_CAP,
    &CROSS_ENTROPY,
    &DIVERGENCE,
    &RMS_NORM_BACKWARD,
    &LAYER_NORM_BACKWARD,
    &ATTENTION_BACKWARD_QUERIES,
    &ATTENTION_BACKWARD_KEYS,
    &GATE_BACKWARD,
    &ACTIVATION_BACKWARD,
    &SOFT_CAP_BACKWARD,
    &CROSS_ENTROPY_BACKWARD,
];
