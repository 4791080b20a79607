//! The one error type at the edge, and its exit code.

use std::process::ExitCode;

use crate::bench::BenchError;
use crate::calib::CalibError;
use crate::checkpoint::CheckpointError;
use crate::eval::EvalError;
use crate::gpu::GpuError;
use crate::model::ModelError;
use crate::prune::PruneError;
use crate::run::RunError;

/// Anything a command can fail with.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// A run.
    #[error("{0}")]
    Run(RunError),
    /// A benchmark.
    #[error("{0}")]
    Bench(BenchError),
    /// A result that could not be written.
    #[error("stdout: cannot write the result ({0}), which is above on stderr; free some room and send it elsewhere")]
    Output(std::io::Error),
}

impl CliError {
    /// A message of the command line's own.
    pub(super) fn setting(message: String) -> Self {
        CliError::Run(RunError::Setting(message))
    }

    /// Fails on the first flag that is given: it is, or has, what `why` says.
    pub(super) fn refuse(flags: &[(&str, bool)], why: &str) -> Result<(), Self> {
        match flags.iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(CliError::setting(format!("{flag} {why}"))),
            None => Ok(()),
        }
    }

    /// What architecture no family file describes, if that is the error.
    pub(super) fn unknown_architecture(&self) -> Option<String> {
        match self {
            CliError::Run(RunError::Model(ModelError::UnknownArchitecture { file, found, .. })) => {
                Some(format!("{file}: architecture {found}"))
            }
            _ => None,
        }
    }

    /// 2 wrong usage, 3 unsupported model, 4 over a memory limit, 5 verification failed, 130 interrupted, else 1.
    pub(super) fn exit_code(&self) -> ExitCode {
        let error = match self {
            CliError::Bench(BenchError::Setting(_)) => return ExitCode::from(2),
            CliError::Bench(_) | CliError::Output(_) => return ExitCode::from(1),
            CliError::Run(error) => error,
        };
        let error = match error {
            RunError::Suspended { error, .. } | RunError::Paused { error, .. } => error,
            error => error,
        };
        if let Some(GpuError::OverBudget { .. }) = of_the_device(error) {
            return ExitCode::from(4);
        }
        ExitCode::from(match error {
            RunError::Interrupted | RunError::NothingWritten { .. } => 130,
            RunError::OverBudget { .. } => 4,
            RunError::Verification { .. } | RunError::WrongSizes { .. } => 5,
            RunError::UnknownMethod { .. } | RunError::Setting(_) => 2,
            RunError::Prune(PruneError::Pattern(_) | PruneError::Width { .. } | PruneError::MethodOption { .. }) => 2,
            RunError::Gpu(GpuError::NoSuchAdapter { .. }) | RunError::Model(ModelError::BadFamily { .. }) => 2,
            RunError::Calib(CalibError::BadSpec { .. }) | RunError::Eval(EvalError::Context(_)) => 2,
            RunError::Model(ModelError::UnknownArchitecture { .. } | ModelError::UnsupportedSetting { .. }) => 3,
            RunError::Checkpoint(error) | RunError::Model(ModelError::Checkpoint(error)) if is_unsupported(error) => 3,
            _ => 1,
        })
    }
}

/// The device's error, whoever met it.
fn of_the_device(error: &RunError) -> Option<&GpuError> {
    match error {
        RunError::Gpu(error)
        | RunError::Model(ModelError::Gpu(error))
        | RunError::Prune(PruneError::Gpu(error))
        | RunError::Eval(EvalError::Model(ModelError::Gpu(error))) => Some(error),
        _ => None,
    }
}

/// Whether a checkpoint is sound, but of a kind that is not read here.
fn is_unsupported(error: &CheckpointError) -> bool {
    use CheckpointError::{OtherFormat, Quantized, UnsupportedDtype};
    matches!(error, Quantized { .. } | OtherFormat { .. } | UnsupportedDtype { .. })
}

impl From<RunError> for CliError {
    fn from(error: RunError) -> Self {
        CliError::Run(error)
    }
}

/// The device's and the method's errors are the same whoever meets them.
impl From<BenchError> for CliError {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Gpu(error) => error.into(),
            BenchError::Prune(error) => error.into(),
            other => CliError::Bench(other),
        }
    }
}

macro_rules! from_rooms {
    ($($error:ty),*) => {$(
        impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                CliError::Run(error.into())
            }
        }
    )*};
}

from_rooms!(CheckpointError, CalibError, EvalError, GpuError, ModelError, PruneError);
