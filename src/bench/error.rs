//! What can stop a benchmark.

use std::path::PathBuf;

use crate::gpu::GpuError;
use crate::prune::PruneError;

/// Errors of a benchmark.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The device.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A layer solve.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// A wrong flag.
    #[error("{0}")]
    Setting(String),
    /// A file that cannot be read or written.
    #[error("cannot {operation} `{}`: {error}", file.display())]
    Io {
        /// File or folder.
        file: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        error: std::io::Error,
    },
    /// A file without benchmark rows.
    #[error("`{}`{} is no benchmark row ({reason}); give a file that `secateur bench --output json` or `jsonl` wrote",
            file.display(), line.map_or(String::new(), |line| format!(", line {line},")))]
    NotRows {
        /// The file.
        file: PathBuf,
        /// Line of JSON lines.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// Kernels that are further from their twins than rounding explains.
    #[error("{0}")]
    Wrong(String),
}

impl BenchError {
    /// Whether the device is too small for a case: a reason to leave it out, not to stop.
    pub(super) fn is_too_large(&self) -> bool {
        let gpu = match self {
            BenchError::Gpu(error) | BenchError::Prune(PruneError::Gpu(error)) => error,
            _ => return false,
        };
        matches!(
            gpu,
            GpuError::BufferTooLarge { .. }
                | GpuError::BindingTooLarge { .. }
                | GpuError::OutOfMemory { .. }
                | GpuError::OverBudget { .. }
        )
    }
}
