//! How much memory and time a run takes, before it begins.

pub(super) mod demand;
mod fitting;
pub(super) mod layer;
pub(super) mod passes;
mod rate;
pub(super) mod resident;

pub use demand::Demand;
pub use rate::gemm_rate;
pub use resident::{ALLOCATOR_STOCK, free_disk, peak_resident, total_memory};
