//! The transformer: sizes and names from a family file and `config.json`, weights of one decoder layer at a time, and
//! the forward pass as a recording of ops.
//!
//! Not for pruning and not for order: `run` walks the layers. Start reading at [`Spec`], then [`Block::forward_to`].

mod block;
mod decoder;
mod error;
mod head;
mod linear;
mod rope;
mod spec;
mod weights;

pub use block::Block;
pub use decoder::{Activations, Decoder};
pub use error::ModelError;
pub use head::{DivergenceState, TokenLoss};
pub use linear::{Weight, linear};
pub use rope::Rope;
pub use spec::{Group, Role, Spec, Tap};
pub use weights::LayerWeights;
