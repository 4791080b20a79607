//! Records as people read them: tables and lines. Formats numbers; computes none.

mod bench;
mod calibrate;
mod compare;
mod inspect;
mod layout;
mod structure;
mod table;

pub use bench::{BenchFormat, bench_print};
pub use calibrate::calibrate_lines;
pub use compare::compare_markdown;
pub use inspect::inspect_table;
pub use layout::text_table;
pub use table::{demo_table, eval_table, prune_table};
