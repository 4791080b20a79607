//! The shape of allowed zeros, and rounding to it.

use std::fmt;
use std::str::FromStr;

use super::PruneError;
use crate::gpu::{Gpu, GpuError, Recording};
use crate::ops::prox;
use crate::tensor::Tensor;

/// Where an unstructured ratio holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Over the whole matrix.
    #[default]
    Matrix,
    /// In every row (output) alone.
    Row,
}

/// A sparsity pattern.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// A fraction of zeros anywhere in the scope.
    Unstructured {
        /// Fraction of zeros, strictly between 0 and 1.
        sparsity: f64,
        /// Where it holds.
        scope: Scope,
    },
    /// At most `n` non-zeros in every `m` consecutive weights of a row.
    NM {
        /// Kept per group.
        n: usize,
        /// Group length, at most 16.
        m: usize,
    },
}

impl Pattern {
    /// Largest group length of N:M.
    pub const MAX_M: usize = 16;

    /// An unstructured pattern; the sparsity must lie strictly between 0 and 1.
    pub fn unstructured(sparsity: f64, scope: Scope) -> Result<Self, PruneError> {
        if !(sparsity > 0.0 && sparsity < 1.0) {
            let message = format!(
                "sparsity {sparsity} is the fraction of weights to remove: it must be above 0 and below 1, e.g. 0.5"
            );
            return Err(PruneError::Pattern(message));
        }
        Ok(Pattern::Unstructured { sparsity, scope })
    }

    /// Fraction of zeros the pattern asks for.
    pub fn sparsity(&self) -> f64 {
        match self {
            Pattern::Unstructured { sparsity, .. } => *sparsity,
            Pattern::NM { n, m } => 1.0 - *n as f64 / *m as f64,
        }
    }

    /// Number of weights the pattern leaves in a `[rows, cols]` matrix without zeros of its own.
    pub fn kept(&self, rows: usize, cols: usize) -> usize {
        match self {
            Pattern::Unstructured {
                sparsity,
                scope: Scope::Matrix,
            } => keep(rows * cols, *sparsity),
            Pattern::Unstructured {
                sparsity,
                scope: Scope::Row,
            } => rows * keep(cols, *sparsity),
            Pattern::NM { n, m } => rows * cols / m * n,
        }
    }

    /// Fails if the pattern does not fit a width, naming the tensor.
    pub fn check_width(&self, tensor: &str, cols: usize) -> Result<(), PruneError> {
        match self {
            Pattern::NM { n, m } if !cols.is_multiple_of(*m) => Err(PruneError::Width {
                tensor: tensor.to_string(),
                n: *n,
                m: *m,
                cols,
            }),
            _ => Ok(()),
        }
    }

    /// Records the nearest matrix with this pattern: the largest |v| stay (ties: lower index), zeros of the input
    /// (`free` 0) are never counted among them. `out` gets the values, `support` 1 where a weight is kept.
    pub fn round(
        &self,
        recording: &mut Recording,
        gpu: &Gpu,
        [v, free]: [&Tensor; 2],
        out: &Tensor,
        support: &Tensor,
    ) -> Result<(), GpuError> {
        let (scope, rows) = match self {
            Pattern::NM { n, m } => {
                prox::project_nm(recording, v, free, *n, *m, out, support);
                return Ok(());
            }
            Pattern::Unstructured { scope, .. } => (*scope, if *scope == Scope::Row { 1 } else { v.rows() }),
        };
        let count = self.kept(rows, v.cols());
        prox::keep_largest(
            recording,
            gpu,
            v,
            free,
            scope.into(),
            prox::Keep { count },
            out,
            support,
        )
    }
}

impl From<Scope> for prox::Scope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Matrix => prox::Scope::Matrix,
            Scope::Row => prox::Scope::Row,
        }
    }
}

fn keep(total: usize, sparsity: f64) -> usize {
    total - (total as f64 * sparsity).round() as usize
}

/// As it was asked for: 0.55 is 55, not 55.00000000000001.
fn percent(sparsity: f64) -> f64 {
    (100.0 * sparsity * 1e9).round() / 1e9
}

impl FromStr for Pattern {
    type Err = PruneError;

    /// Reads `N:M`: N weights kept of every M.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: &str| {
            Err(PruneError::Pattern(format!(
                "pattern `{text}`: {why}; write N:M for N kept weights of every M, 1 <= N < M <= {}, e.g. 2:4",
                Self::MAX_M
            )))
        };
        let parts = text
            .split_once(':')
            .and_then(|(n, m)| Some((n.parse::<usize>().ok()?, m.parse::<usize>().ok()?)));
        match parts {
            None => wrong("not two numbers with a colon"),
            Some((_, m)) if m > Self::MAX_M => wrong("M is too large"),
            Some((0, _)) => wrong("nothing would be kept"),
            Some((n, m)) if n >= m => wrong("nothing would be removed"),
            Some((n, m)) => Ok(Pattern::NM { n, m }),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Unstructured {
                sparsity,
                scope: Scope::Matrix,
            } => write!(f, "{} %", percent(*sparsity)),
            Pattern::Unstructured {
                sparsity,
                scope: Scope::Row,
            } => write!(f, "{} % of each row", percent(*sparsity)),
            Pattern::NM { n, m } => write!(f, "{n}:{m}"),
        }
    }
}
