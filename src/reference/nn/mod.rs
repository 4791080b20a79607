//! Twins of `shaders/nn`. `fast_exp` is the exponential that the f32 forms share.

pub mod activation;
pub mod activation_backward;
pub mod attention;
pub mod attention_backward;
pub mod attention_backward_fast;
pub mod cross_entropy;
pub mod cross_entropy_backward;
pub mod divergence;
pub mod embed;
pub mod fast_exp;
pub mod gate;
pub mod gate_backward;
pub mod layer_norm;
pub mod layer_norm_backward;
pub mod rms_norm;
pub mod rms_norm_backward;
pub mod rope;
pub mod soft_cap;
pub mod soft_cap_backward;
