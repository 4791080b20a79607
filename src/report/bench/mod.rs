//! Benchmarks: the record of one measurement, flat as llama-bench's, and the forms it is printed in.

mod board;
mod print;
mod row;

pub use board::bench_board;
pub use print::{BenchFormat, bench_print};
pub use row::{BENCH_SCHEMA_VERSION, BenchRow, Machine};
