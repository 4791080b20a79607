//! Records of what was done, as JSON and as terminal tables. Formats numbers; computes none.

mod record;
mod table;

pub use record::{
    AdapterRecord, CalibrationRecord, EvalRecord, LinearRecord, Memory, Phases, PruneReport, Settings, Totals,
};
pub use table::{demo_table, eval_table, prune_table};
