//! The only room that knows the order of things: plan, capture, accumulate, prune, replay, next layer, write, verify.
//!
//! Start reading at [`prune`].

mod capture;
mod encode;
mod error;
mod layer_memory;
mod memory;
mod plan;
mod rate;
mod report;
mod solve;
mod state;
mod walk;
mod weights_only;

pub use error::RunError;
pub use memory::{Demand, peak_resident, total_memory};
pub use plan::{Plan, PruneOptions};
pub use rate::gemm_rate;
pub use report::adapter_record;
pub use state::{RunIdentity, RunState, StateError};
pub use walk::{Progress, prune};
pub use weights_only::{WeightsOnly, prune_weights};
