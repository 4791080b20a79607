//! `secateur bench`: the kernels a prune lives on, at the shapes of real layers, timed and held against f64 twins.
//!
//! Check, then time, then say how far from the roof: a kernel that misses its twin gets no time. The roofs are measured
//! in the same run, by a kernel that only multiplies and adds and one that only copies. Not here: how numbers are printed
//! (`crate::report`). Start reading at [`bench()`], then [`Spec`].

mod case;
mod cases;
mod check;
mod compare;
mod data;
mod error;
mod files;
mod machine;
mod measure;
mod roof;
mod run;
mod shapes;
mod spec;

pub use check::{CheckRow, check};
pub use compare::{Comparison, Match, compare};
pub use error::BenchError;
pub use files::{read_folder, read_rows};
pub use run::{Bench, BenchSettings, Devices, bench};
pub use shapes::{Shape, Size};
pub use spec::{BenchKernel, Spec};
