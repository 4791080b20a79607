//! The only room that knows the order of things: plan, capture, accumulate, prune, replay, next layer, write, verify.
//!
//! Start reading at [`prune`] for methods that go layer after layer, at [`surgeon()`] for those that weigh all layers against
//! each other. Arrows point down:
//!
//! ```text
//! compare                      methods against targets: prunes and evaluations
//! structured -> global         whole units removed: LLM Surgeon's shots over other costs
//! layerwise | global           the walk over layers | the shots of LLM Surgeon
//! predict                      how much memory and time each of them takes
//! curvature                    the backward pass, Kronecker factors, what removing a weight costs
//! folder                       the state of an unfinished run in its output folder
//! options methods order progress report samples error: the ground
//! ```

mod compare;
mod curvature;
mod error;
mod folder;
mod global;
mod layerwise;
mod methods;
mod options;
mod order;
mod predict;
mod progress;
mod report;
mod samples;
mod structured;

pub use compare::{CompareOptions, CompareProgress, EvalText, Subject, compare, evaluate, evaluate_against};
pub use error::{RunError, StateError, StatisticsError};
pub use folder::{RunIdentity, RunState};
pub use global::{FactorPlace, Fisher, LineKinds, LowRankOptions, SearchOptions, SurgeonOptions, SurgeonPlan, surgeon};
pub use layerwise::{GroupEntry, LayerEntry, Manifest, Plan, Statistics, WeightsOnly, calibrate, prune, prune_weights};
pub use methods::{AUTO, Asked, REGIMES, Regime, choose, method_named, regimes};
pub use options::{DEFAULT_LENGTH, DEFAULT_SAMPLES, PruneOptions, StatisticsSource};
pub use predict::{ALLOCATOR_STOCK, Demand, free_disk, gemm_rate, peak_resident, total_memory};
pub use progress::Progress;
pub use report::adapter_record;
pub use structured::{Layout, Promise, StructureOptions, StructurePlan, Update, structure};
