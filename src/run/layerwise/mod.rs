//! One decoder layer after the other: the inputs of its linear layers summed up, each pruned on them, and on with what the
//! pruned layer makes. Start reading at [`prune()`], then `walk`.

mod allocate;
mod begin;
mod calibrate;
mod capture;
mod permute;
mod plan;
mod prune;
mod report;
mod solve;
mod source;
mod statistics;
mod walk;
mod weights_only;

pub use calibrate::calibrate;
pub use plan::Plan;
pub use prune::prune;
pub use statistics::{GroupEntry, LayerEntry, Manifest, Statistics};
pub use weights_only::{WeightsOnly, prune_weights};
