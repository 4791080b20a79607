//! Records of what was done, as JSON and as terminal tables. Formats numbers; computes none.

mod bench;
mod calibrate;
mod compare;
mod inspect;
mod layout;
mod record;
mod shots;
mod structure;
mod table;

pub use bench::{BENCH_SCHEMA_VERSION, BenchFormat, BenchRow, Machine, bench_board, bench_print};
pub use calibrate::{CalibrateReport, calibrate_lines};
pub use compare::{CompareCell, CompareReport, RoleError, compare_csv, compare_markdown};
pub use inspect::{InspectRecord, LinearKind, inspect_table};
pub use layout::text_table;
pub use record::{
    AdapterRecord, CalibrationRecord, EvalRecord, LinearRecord, Memory, ModelSize, Phases, PruneReport, Settings,
    Shrunk, Totals,
};
pub use shots::{CorrectionRecord, SearchRecord, ShotRecord};
pub use table::{demo_table, eval_table, prune_table};
