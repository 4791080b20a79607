//! Twins of `shaders/nn`. `fast_exp` is the exponential that the f32 forms share.

pub mod activation;
pub mod attention;
pub mod cross_entropy;
pub mod divergence;
pub mod embed;
pub mod fast_exp;
pub mod gate;
pub mod layer_norm;
pub mod rms_norm;
pub mod rope;
pub mod soft_cap;
