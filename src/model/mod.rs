//! The transformer: sizes, names and switches from a family file and `config.json`, weights of one decoder layer at a
//! time, and the forward pass as a recording of ops.
//!
//! Not for pruning and not for order: `run` walks the layers. Start reading at [`Spec`], then [`Block::forward`].

mod activations;
mod block;
mod decoder;
mod error;
mod experts;
mod family;
mod head;
mod linear;
mod linear_spec;
mod resolve;
mod rope;
mod spec;
mod tap;
mod weights;

pub use activations::{ActivationError, ActivationOptions, Activations, batch_rows};
pub use block::Block;
pub use decoder::Decoder;
pub use error::ModelError;
pub use experts::{ExpertTokens, Routing};
pub use family::{Family, Norm, NormKind, QkNorm, Role};
pub use head::{DivergenceState, TokenLoss};
pub use linear::{Weight, linear};
pub use linear_spec::{LinearId, LinearSpec, Part};
pub use rope::Rope;
pub use spec::{ExpertSpec, LayerKind, Spec};
pub use tap::{Group, Tap};
pub use weights::LayerWeights;
