//! The only room that knows the order of things: plan, capture, accumulate, prune, replay, next layer, write, verify.
//!
//! Start reading at [`prune`].

mod encode;
mod error;
mod memory;
mod plan;
mod walk;

pub use error::RunError;
pub use memory::{peak_resident, total_memory};
pub use plan::{Plan, Propagate, PruneOptions};
pub use walk::{Progress, adapter_record, prune};
