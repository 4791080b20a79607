//! The transformer: sizes, names and switches from a family file and `config.json`, weights of one decoder layer at a
//! time, and the forward and backward pass as recordings of ops.
//!
//! Not for pruning and not for order: `run` walks the layers. Start reading at [`Spec`], then [`DecoderLayer::forward`].

mod activations;
mod backward;
mod decoder;
mod decoder_layer;
mod error;
mod experts;
mod family;
mod head;
mod heads;
mod lanes;
mod linear;
mod linear_spec;
mod resize;
mod resolve;
mod rope;
mod site;
mod spec;
mod weights;

pub use activations::{ActivationError, ActivationOptions, Activations, Ahead, batch_rows};
pub use backward::{LayerVisit, LinearGradient, LossGradient, Trace, Visit, next_tokens};
pub use decoder::Decoder;
pub use decoder_layer::DecoderLayer;
pub use error::ModelError;
pub use experts::{ExpertTokens, Routing};
pub use family::{Family, Norm, NormKind, QkNorm, Role};
pub use head::{DivergenceState, TokenLoss, evaluation_bytes, loss_gradient_bytes};
pub(crate) use lanes::{at_once, lane_threads};
pub use linear::{Weight, linear, linear_backward, upload_weight};
pub use linear_spec::{LinearId, LinearSpec, Part};
pub use resize::FewerHeads;
pub use rope::Rope;
pub use site::{ActivationSite, Group};
pub use spec::{ExpertSpec, LayerKind, Spec};
pub(crate) use weights::finite;
pub use weights::{Amend, LayerWeights};
