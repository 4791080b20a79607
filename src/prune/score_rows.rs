//! Scores by which whole units are removed: rows of the form that methods have.

use super::registry::{Defaults, Evidence, MethodRow, Removes, Solver};
use super::score::Score;

impl Score {
    /// Its row.
    pub fn row(self) -> &'static MethodRow {
        let row = SCORES
            .iter()
            .find(|row| matches!(row.solver, Solver::Units(score) if score == self));
        row.expect("every score has a row")
    }

    /// The score of that name.
    pub fn named(name: &str) -> Option<Self> {
        let row = SCORES.iter().find(|row| row.name == name)?;
        match row.solver {
            Solver::Units(score) => Some(score),
            _ => None,
        }
    }

    /// Whether it needs the second moments of inputs, inverted.
    pub fn has_factors(self) -> bool {
        matches!(self, Score::Surgeon | Score::Osscar)
    }

    /// Name on the command line and in reports.
    pub fn name(self) -> &'static str {
        self.row().name
    }
}

const fn row(score: Score, [name, title, help, paper]: [&'static str; 4], evidence: Evidence) -> MethodRow {
    MethodRow {
        name,
        title,
        help,
        paper,
        evidence,
        removes: &[Removes::Units],
        defaults: Defaults::PUBLISHED,
        options: &[],
        solver: Solver::Units(score),
    }
}

/// All scores, the default first.
pub static SCORES: &[&MethodRow] = &[
    &row(
        Score::Surgeon,
        [
            "surgeon",
            "LLM Surgeon",
            "Cost by the curvature of outputs and inputs; --update says what makes up for it",
            "arXiv 2312.17244",
        ],
        Evidence::Gradients,
    ),
    &row(
        Score::Magnitude,
        [
            "magnitude",
            "magnitude",
            "Squared weights of down and o; nothing makes up for it",
            "",
        ],
        Evidence::Weights,
    ),
    &row(
        Score::WandaSp,
        [
            "wanda-sp",
            "Wanda-sp",
            "Weights of down and o times the energy of their inputs; nothing makes up for it",
            "arXiv 2312.11983",
        ],
        Evidence::Inputs,
    ),
    &row(
        Score::Flap,
        [
            "flap",
            "FLAP",
            "Squared weights of down and o times the variance of their inputs; biases, where there are any, take the mean",
            "arXiv 2312.11983",
        ],
        Evidence::Inputs,
    ),
    &row(
        Score::Osscar,
        [
            "osscar",
            "OSSCAR",
            "Error of down and o after a least-squares refit, which they get",
            "arXiv 2403.12983",
        ],
        Evidence::Inputs,
    ),
    &row(
        Score::BlockInfluence,
        [
            "block-influence",
            "Block Influence (ShortGPT)",
            "For layers: how far the hidden states turn in one, 1 - cosine; nothing makes up for it",
            "arXiv 2403.03853",
        ],
        Evidence::Inputs,
    ),
];
