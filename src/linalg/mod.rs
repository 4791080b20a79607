//! Several ops chained into something with a textbook name. Knows matrices, not layers or patterns.

mod blocks;
mod conjugate_gradient;
mod gram;
mod power_iteration;
mod sweep;

pub use blocks::{add_product, row_blocks};
pub use conjugate_gradient::masked_conjugate_gradient;
pub use gram::{accumulate, finish, multiply, multiply_left};
pub use power_iteration::{Eigenvalue, largest_eigenvalue};
pub use sweep::{Pivots, inverse, inverse_factor};
