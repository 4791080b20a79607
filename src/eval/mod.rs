//! Numbers about quality: perplexity by a named protocol, and divergence from another checkpoint.
//!
//! Formats nothing (`report`) and knows no order of layers (`model`). Start reading at [`perplexity()`].

mod divergence;
mod perplexity;

pub use divergence::{Divergence, divergence, same_vocabulary};
pub use perplexity::{Bos, EvalError, Perplexity, Protocol, Windows, perplexity};
