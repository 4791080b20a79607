//! Records of what was done, as JSON and, with the feature `cli`, as text.

mod bench;
mod calibrate;
mod compare;
mod inspect;
mod record;
mod shots;
#[cfg(feature = "cli")]
mod text;

pub use bench::{BENCH_SCHEMA_VERSION, BenchRow, Machine, bench_board};
pub use calibrate::CalibrateReport;
pub use compare::{CompareCell, CompareReport, RoleError, compare_csv};
pub use inspect::{InspectRecord, LinearKind};
pub use record::{
    AdapterRecord, CalibrationRecord, EvalRecord, LinearRecord, Memory, ModelSize, Phases, PruneReport, Settings,
    Shrunk, Totals,
};
pub use shots::{CorrectionRecord, SearchRecord, ShotRecord};
#[cfg(feature = "cli")]
pub use text::{
    BenchFormat, bench_print, calibrate_lines, compare_markdown, demo_table, eval_table, inspect_table, prune_table,
    text_table,
};
