//! What makes a run resumable: its output folder ([`RunFolder`]) and, in it, how far it came ([`RunState`]).

pub(super) mod allocation;
mod run_folder;
mod state;

pub(super) use run_folder::{RunFolder, Step};
pub use state::{RunIdentity, RunState};
pub(super) use state::{add_rounding, differences};
