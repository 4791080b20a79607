//! Twins of `shaders/factor`.

pub mod cholesky_block;
pub mod kron_gather;
pub mod panel_read;
pub mod panel_write;
