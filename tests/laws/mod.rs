//! T2: properties that hold by theory, on every device.

mod admm;
mod awp;
mod blocks;
mod conjugate_gradient;
mod fista;
mod hard_grams;
mod output_weights;
mod panels;
mod permute;
mod power_iteration;
pub(crate) mod problem;
mod surgeon;
mod sweep;
