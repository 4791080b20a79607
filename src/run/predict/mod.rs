//! How much memory and time a run takes, before it begins.
//!
//! The sizes are computed (`layer`, `passes`) beside the code that allocates them. An executor that plays a run and only
//! books its allocations would make `layer` unnecessary, but it does not fit a prediction:
//!
//! - The course of a run depends on values: routes of tokens to experts, dampings that are raised, searches that end early,
//!   inputs that are dead. Without data the executor takes one course, not the worst one.
//! - It has to be asked often. The batch, the type of the activations and the blocks of a solve are chosen so that the limits
//!   hold; each choice is another run through all layers, where a formula takes microseconds.
//! - It sees buffers only. On the host executor about half of the resident memory is something else: mapped pages, the
//!   tokenizer and its text, threads, records (`resident`).
//!
//! So the formulas stay, and `tests/cli/memory.rs` compares them with measured peaks of all kinds of runs.

pub(super) mod demand;
mod fitting;
pub(super) mod layer;
pub(super) mod passes;
mod rate;
pub(super) mod resident;

pub use demand::Demand;
pub use rate::gemm_rate;
pub use resident::{ALLOCATOR_STOCK, free_disk, peak_resident, total_memory};
