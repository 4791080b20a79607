//! Benchmarks: the record of one measurement, flat as llama-bench's, and a page of many.

mod board;
mod row;

pub use board::bench_board;
pub use row::{BENCH_SCHEMA_VERSION, BenchRow, Machine};
