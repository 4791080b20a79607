//! The only room that knows the order of things: plan, capture, accumulate, prune, replay, next layer, write, verify.
//!
//! Start reading at [`prune`].

mod allocate;
mod auto;
mod calibrate;
mod capture;
mod compare;
mod encode;
mod error;
mod evaluate;
mod fitting;
mod layer_memory;
mod memory;
mod permute;
mod plan;
mod prune;
mod rate;
mod report;
mod resident;
mod samples;
mod solve;
mod source;
mod state;
mod statistics;
mod structure;
mod surgeon;
mod walk;
mod weights_only;

pub use auto::{AUTO, Asked, REGIMES, Regime, choose, regimes};
pub use calibrate::calibrate;
pub use compare::{CompareOptions, CompareProgress, Subject, compare};
pub use error::RunError;
pub use evaluate::{EvalText, evaluate};
pub use memory::Demand;
pub use plan::{Plan, PruneOptions, Sums};
pub use prune::prune;
pub use rate::gemm_rate;
pub use report::adapter_record;
pub use resident::{ALLOCATOR_STOCK, free_disk, peak_resident, total_memory};
pub use state::{RunIdentity, RunState, StateError};
pub use statistics::{GroupEntry, LayerEntry, Manifest, Statistics, StatisticsError};
pub use structure::{Layout, Promise, Score, StructureOptions, StructurePlan, Update, structure};
pub use surgeon::{
    BY_GRADIENTS, FactorPlace, Fisher, KFAC_FISTA, LineKinds, LowRankOptions, SURGEON, SearchOptions, SurgeonOptions,
    SurgeonPlan, surgeon,
};
pub use walk::Progress;
pub use weights_only::{WeightsOnly, prune_weights};
