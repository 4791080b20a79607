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
            "Loss increase estimated from the curvature of outputs and inputs. `update` says what compensates for it",
            "arXiv 2312.17244",
        ],
        Evidence::Gradients,
    ),
    &row(
        Score::Magnitude,
        [
            "magnitude",
            "magnitude",
            "Squared weights of down_proj and o_proj. No weight is updated",
            "",
        ],
        Evidence::Weights,
    ),
    &row(
        Score::WandaSp,
        [
            "wanda-sp",
            "Wanda-sp",
            "Absolute weights of down_proj and o_proj times the norm of their inputs. No weight is updated",
            "arXiv 2312.11983",
        ],
        Evidence::Inputs,
    ),
    &row(
        Score::Flap,
        [
            "flap",
            "FLAP",
            "Squared weights of down_proj and o_proj times their input variance. Biases, if any, absorb the mean",
            "arXiv 2312.11983",
        ],
        Evidence::Inputs,
    ),
    &row(
        Score::Osscar,
        [
            "osscar",
            "OSSCAR",
            "Output error of down_proj and o_proj after a least-squares refit. The refit is applied",
            "arXiv 2403.12983",
        ],
        Evidence::Inputs,
    ),
    &row(
        Score::BlockInfluence,
        [
            "block-influence",
            "Block Influence (ShortGPT)",
            "For layers: 1 - cosine between the hidden states before and after the layer. No weight is updated",
            "arXiv 2403.03853",
        ],
        Evidence::Inputs,
    ),
];
