//! Flags of `prune --structure`.

use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::exit::CliError;
use crate::prune::{SCORES, Score};
use crate::run::{Layout, LineKinds, StructureOptions, Update};

/// What --structure removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum StructureArg {
    /// MLP neurons
    Ffn,
    /// Key/value heads with all their query heads
    Heads,
    /// Whole decoder layers
    Layers,
    /// Rows (outputs) of each linear layer by itself. They become zero, and the model keeps its size
    Rows,
    /// Columns (inputs) of each linear layer by itself. They become zero, and the model keeps its size
    Columns,
}

/// The scores of the table, by name.
fn scores() -> impl TypedValueParser<Value = Score> {
    let values = SCORES.iter().map(|row| PossibleValue::new(row.name).help(row.help));
    PossibleValuesParser::new(values).map(|name| Score::named(&name).expect("one of the table"))
}

/// Structures instead of single weights.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Structured pruning (--structure)")]
pub(super) struct StructureArgs {
    /// What to remove, comma-separated. ffn, heads and layers make the model smaller. The sparsity is then the share
    /// of the weights of the decoder's linear layers to remove. rows and columns become zero in each linear layer by
    /// itself, as published for LLM Surgeon [default: none]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "UNITS")]
    pub(super) structure: Vec<StructureArg>,
    /// Score that chooses the units to remove [default: surgeon]
    #[arg(long, value_name = "SCORE", value_parser = scores())]
    pub(super) score: Option<Score>,
    /// Kept weights that are updated to compensate for units removed by --score surgeon. The other scores have their
    /// own rule [default: columns]
    #[arg(long, value_enum, value_name = "UPDATE")]
    pub(super) update: Option<Update>,
    /// How the removed units are divided among the layers [default: uniform]
    #[arg(long, value_enum, value_name = "LAYOUT")]
    pub(super) layout: Option<Layout>,
    /// The number of kept neurons is a multiple of this [default: 256, or for fewer than 1024 neurons the largest
    /// power of two that is at most a quarter of them]
    #[arg(long, value_name = "NEURONS")]
    pub(super) round: Option<usize>,
}

impl StructureArgs {
    /// Whether structures are removed.
    pub(super) fn any(&self) -> bool {
        !self.structure.is_empty()
    }

    /// Rows and columns that become zero.
    pub(super) fn lines(&self) -> LineKinds {
        LineKinds {
            rows: self.structure.contains(&StructureArg::Rows),
            columns: self.structure.contains(&StructureArg::Columns),
        }
    }

    /// Whether the model becomes smaller.
    pub(super) fn shrinks(&self) -> bool {
        self.any() && !self.lines().any()
    }

    /// Fails if a flag is given that means nothing without units, or units that do not go together.
    pub(super) fn check(&self) -> Result<(), CliError> {
        let lines = |arg: &StructureArg| matches!(arg, StructureArg::Rows | StructureArg::Columns);
        if self.lines().any() && !self.structure.iter().all(lines) {
            let message = "--structure: rows and columns become zero, ffn, heads and layers go: give one or the other";
            return Err(CliError::setting(message.into()));
        }
        if self.shrinks() {
            return Ok(());
        }
        let units = [
            ("--score", self.score.is_some()),
            ("--update", self.update.is_some()),
            ("--layout", self.layout.is_some()),
            ("--round", self.round.is_some()),
        ];
        let why = "is for --structure ffn, heads or layers: add e.g. --structure ffn, or drop it";
        CliError::refuse(&units, why)
    }

    pub(super) fn options(&self) -> Result<StructureOptions, CliError> {
        let has = |wanted| self.structure.contains(&wanted);
        if self.round.is_some() && !has(StructureArg::Ffn) {
            return Err(CliError::setting(
                "--round is for neurons: add ffn to --structure, or drop it".into(),
            ));
        }
        if self.update.is_some() && self.score.is_some_and(|score| score != Score::Surgeon) {
            let message = "--update is for --score surgeon, the others have their own: drop it";
            return Err(CliError::setting(message.into()));
        }
        Ok(StructureOptions {
            ffn: has(StructureArg::Ffn),
            heads: has(StructureArg::Heads),
            layers: has(StructureArg::Layers),
            score: self.score.unwrap_or_default(),
            update: self.update.unwrap_or_default(),
            layout: self.layout.unwrap_or_default(),
            round: self.round,
        })
    }
}
