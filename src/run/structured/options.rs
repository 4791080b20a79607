//! What the user asks of a run that makes a model smaller.

use serde::Serialize;

use crate::model::{ActivationSite, Spec};
use crate::prune::{Evidence, Score};
use crate::run::RunError;
use crate::run::curvature::factors::Wanted;
use crate::run::predict::passes::{GatherPlan, Pass};

/// What makes up for the units that LLM Surgeon removes.
///
/// That a unit is gone shows in its rows and in its columns, but it is one and the same loss: both sides making up for it,
/// as for rows and columns that are removed independently, is to make up for it several times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Update {
    /// The kept columns of down_proj and o_proj
    #[default]
    Columns,
    /// These columns and the kept rows of the gate, up, q, k and v projections, each as if the other were not updated
    Both,
    /// Nothing
    None,
}

impl Update {
    /// Name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Update::Columns => "columns",
            Update::Both => "both",
            Update::None => "none",
        }
    }
}

/// Widths of the layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Every layer loses the same number of neurons and heads, those with its lowest scores
    #[default]
    Uniform,
    /// One score threshold for all layers (for flap, scores are standardised in each). Zeros pad every layer to the
    /// width of the widest
    Padded,
}

impl Layout {
    /// Name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Uniform => "uniform",
            Layout::Padded => "padded",
        }
    }
}

/// What to remove, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StructureOptions {
    /// Neurons of the MLPs.
    pub ffn: bool,
    /// Key/value heads with all their query heads.
    pub heads: bool,
    /// Whole layers.
    pub layers: bool,
    /// By what.
    pub score: Score,
    /// What makes up for what goes, by the score of LLM Surgeon; the others have their own.
    pub update: Update,
    /// Widths of the layers.
    pub layout: Layout,
    /// What the width of the MLP becomes a multiple of; [`default_round`](crate::prune::surgeon::default_round) if none.
    pub round: Option<usize>,
}

impl StructureOptions {
    /// As on the command line.
    pub fn name(&self) -> String {
        let parts = [("ffn", self.ffn), ("heads", self.heads), ("layers", self.layers)];
        let parts: Vec<&str> = parts.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        parts.join(",")
    }

    /// Whether linears that read at `site` change.
    pub(in crate::run) fn touches(&self, site: ActivationSite) -> bool {
        if site.in_mlp() { self.ffn } else { self.heads }
    }

    /// Whether rows that stay make up for what goes.
    pub(in crate::run) fn updates_rows(&self) -> bool {
        self.score == Score::Surgeon && self.update == Update::Both
    }

    /// Whether columns that stay do.
    pub(in crate::run) fn updates_columns(&self) -> bool {
        self.score == Score::Osscar || self.score == Score::Surgeon && self.update != Update::None
    }

    /// What a shot gathers.
    pub(in crate::run) fn need(&self) -> GatherPlan {
        let factors = match self.score.has_factors() {
            true => self.wanted(),
            false => Wanted::NONE,
        };
        let pass = match self.score.row().evidence {
            Evidence::Gradients => Pass::Backward,
            Evidence::Inputs => Pass::Forward,
            Evidence::Weights => Pass::Weights,
        };
        GatherPlan {
            factors,
            pass,
            layers: self.layers,
            again: false,
        }
    }

    /// Curvature factors to gather.
    pub(in crate::run) fn wanted(&self) -> Wanted {
        Wanted {
            attention: self.heads,
            mlp: self.ffn,
            gradients: self.score == Score::Surgeon,
            // Without its column a unit's rows do nothing: they count where they are updated.
            all_linears: self.updates_rows(),
        }
    }
}

impl StructureOptions {
    /// Fails on what does not go together.
    pub(in crate::run) fn check(&self, spec: &Spec) -> Result<(), RunError> {
        let wrong = |message: String| Err(RunError::Setting(message));
        if !self.ffn && !self.heads && !self.layers {
            return wrong("`structure`: choose ffn, heads, layers, or several of them".into());
        }
        if self.layers {
            if self.layout == Layout::Padded {
                return wrong("`layout` padded is for units of layers that stay: drop it, or layers".into());
            }
            if spec.layers < 2 {
                return wrong("`structure` layers: the only layer has to stay".into());
            }
            let alone = !self.ffn && !self.heads;
            if self.score != Score::Surgeon && !(alone && self.score == Score::BlockInfluence) {
                return wrong(format!(
                    "`structure` layers goes by `score` surgeon, or alone by block-influence; {} says nothing of layers beside units",
                    self.score.name()
                ));
            }
        } else if self.score == Score::BlockInfluence {
            return wrong("`score` block-influence is for `structure` layers".into());
        }
        if self.round == Some(0) {
            return wrong("`round` must be at least 1".into());
        }
        Ok(())
    }
}
