//! T2: properties that hold by theory, on every device.

mod conjugate_gradient;
mod fista;
mod panels;
mod power_iteration;
pub(crate) mod problem;
