//! What the user asks of LLM Surgeon beyond what every method has.

use serde::Serialize;

use crate::model::LinearSpec;
use crate::prune::{Damping, MethodRow, SURGEON};
use crate::run::RunError;
use crate::run::curvature::{OUTPUT_DAMPING, damping_of_outputs};

/// What the user asked for beyond [`PruneOptions`](crate::run::PruneOptions).
#[derive(Clone, Debug, PartialEq)]
pub struct SurgeonOptions {
    /// Times the curvature is estimated, and so the steps to the target.
    pub shots: usize,
    /// Damping of the factor of gradients, a fraction of its mean diagonal.
    pub output_damping: f64,
    /// Removed weights that are made up for together; 0 leaves that to the refit.
    pub max_correlate: usize,
    /// Conjugate-gradient steps in the metric of the curvature after each shot; 0 is off.
    pub refit: usize,
    /// Targets of the backward pass.
    pub fisher: Fisher,
    /// Half-steps from K-FAC's factors towards the nearest Kronecker product, each of which goes through the model once more.
    pub half_steps: usize,
    /// What [`crate::prune::KFAC_FISTA`] does beyond; not used by [`crate::prune::SURGEON`].
    pub search: SearchOptions,
    /// Corrections after each shot.
    pub low_rank: LowRankOptions,
    /// Whole rows and columns in place of single weights.
    pub lines: LineKinds,
    /// Whether all shots see the same samples.
    pub same_samples: bool,
    /// Where factors are between the two passes of a shot; decides nothing else.
    pub factors: FactorPlace,
}

/// Where the curvature factors are between the two passes of a shot. The result is the same to the byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum FactorPlace {
    /// `disk` if the disk has room, else `recompute`
    #[default]
    Auto,
    /// On disk, in the output folder
    Disk,
    /// Not kept: a second backward pass computes them again, which takes longer
    Recompute,
}

/// Whether whole rows (outputs) and columns (inputs) of each linear go, by [`crate::prune::SURGEON`]. They become zero: nothing gets
/// smaller, for what goes in one linear is not tied to what goes in the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LineKinds {
    /// Outputs.
    pub rows: bool,
    /// Inputs.
    pub columns: bool,
}

impl LineKinds {
    /// Whether any go.
    pub fn any(self) -> bool {
        self.rows || self.columns
    }

    /// As on the command line.
    pub fn name(self) -> String {
        let names = [("rows", self.rows), ("columns", self.columns)];
        let names = names.iter().filter(|(_, given)| *given);
        names.map(|(name, _)| *name).collect::<Vec<_>>().join(",")
    }
}

/// Low-rank corrections between shots.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LowRankOptions {
    /// Of the two factors of each linear.
    pub rank: usize,
    /// Steps of Adam after each shot, of one sample each; 0 is off.
    pub steps: usize,
    /// How far a factor moves in the first step; it falls linearly to zero.
    pub rate: f64,
}

impl Default for LowRankOptions {
    fn default() -> Self {
        // A fifth of SmolLM2-135M's neurons gone in one shot costs a perplexity of 46.6; after 16 steps on 8 x 1024 tokens it
        // is 41.1 at a rate of 0.001, 38.6 at 0.003, 40.7 at 0.01.
        LowRankOptions {
            rank: 8,
            steps: 0,
            rate: 3e-3,
        }
    }
}

/// Which Fisher information the curvature is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Fisher {
    /// The tokens of the text, as published (empirical Fisher)
    #[default]
    Empirical,
    /// Tokens drawn from the model's distribution by `seed`, anew in every shot (true Fisher)
    Sampled,
}

impl Fisher {
    /// Name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Fisher::Empirical => "empirical",
            Fisher::Sampled => "sampled",
        }
    }
}

/// How [`crate::prune::KFAC_FISTA`] searches, within each shot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SearchOptions {
    /// Penalties tried.
    pub rounds: usize,
    /// FISTA steps for each, of two products a linear.
    pub steps: usize,
}

impl Default for SearchOptions {
    fn default() -> Self {
        // On correlated factors at 70 % zeros, of LLM Surgeon's expected loss: 20 steps leave .93, 40 .89, 80 .83, 160 .81,
        // and a second round takes another two percent.
        SearchOptions { rounds: 2, steps: 40 }
    }
}

impl Default for SurgeonOptions {
    fn default() -> Self {
        SurgeonOptions {
            shots: 5,
            output_damping: OUTPUT_DAMPING,
            // All of a linear's weights together cost less than chunks of them, and lose less.
            max_correlate: 0,
            refit: SURGEON.defaults.refit,
            fisher: Fisher::default(),
            half_steps: 0,
            search: SearchOptions::default(),
            low_rank: LowRankOptions::default(),
            lines: LineKinds::default(),
            same_samples: false,
            factors: FactorPlace::default(),
        }
    }
}

impl SurgeonOptions {
    /// Damping of the factor of gradients.
    pub(super) fn damping_of_outputs(&self) -> Damping {
        damping_of_outputs(self.output_damping)
    }

    /// Fails on numbers out of range, and on what does not go together.
    pub(in crate::run) fn check(&self, method: &MethodRow) -> Result<(), RunError> {
        let wrong = |message: String| Err(RunError::Setting(message));
        check_fraction("`output-damping`", self.output_damping)?;
        self.low_rank.check()?;
        if self.shots == 0 {
            return wrong("`shots` 0 would prune nothing; use at least 1".into());
        }
        if method.searches() {
            self.check_search(method)?;
        }
        if self.max_correlate == 0 && self.refit == 0 {
            return wrong(
                "`max-correlate` 0 and `refit` 0 leave nothing that updates the kept weights; set one of them".into(),
            );
        }
        match self.reads_often(method) {
            Some(reader) if self.factors == FactorPlace::Recompute => wrong(format!(
                "`factors` recompute: {reader} goes through the factors of a shot many times: use `factors` disk"
            )),
            _ => Ok(()),
        }
    }

    fn check_search(&self, method: &MethodRow) -> Result<(), RunError> {
        let wrong = |message: String| Err(RunError::Setting(message));
        if self.refit == 0 {
            return wrong(format!(
                "`refit` 0: `method` {method} ends with a refit; use at least 1"
            ));
        }
        if self.max_correlate > 0 {
            let message = format!("`max-correlate` is for `method` {SURGEON}; `method` {method} refits: drop it");
            return wrong(message);
        }
        if self.search.rounds == 0 || self.search.steps == 0 {
            return wrong("a search has at least one round of one step".into());
        }
        Ok(())
    }

    /// What goes through the factors of a shot too often to gather them again each time.
    pub(super) fn reads_often(&self, method: &MethodRow) -> Option<String> {
        match method.searches() {
            true => Some(format!("`method` {method}")),
            false => (self.half_steps > 0).then(|| "`half-steps`".into()),
        }
    }
}

impl LowRankOptions {
    fn check(&self) -> Result<(), RunError> {
        let wrong = |message: String| Err(RunError::Setting(message));
        if self.steps > 0 && self.rank == 0 {
            return wrong("`lora-rank` 0 corrects nothing; use at least 1, or drop `lora-steps`".into());
        }
        if !(self.rate > 0.0 && self.rate <= 1.0) {
            let rate = self.rate;
            return wrong(format!("`lora-rate` {rate} is a step of weights: above 0, at most 1"));
        }
        Ok(())
    }
}

impl LowRankOptions {
    /// Fails if a correction of this linear would have more than its full rank.
    pub(in crate::run) fn check_of(&self, linear: &LinearSpec) -> Result<(), RunError> {
        let (rank, most) = (self.rank, linear.shape[0].min(linear.shape[1]));
        match self.steps > 0 && rank > most {
            true => Err(RunError::Setting(format!(
                "`lora-rank` {rank} is beyond the {most} that {} can have; use less",
                linear.tensor
            ))),
            false => Ok(()),
        }
    }
}

/// Fails unless a damping is one.
pub(in crate::run) fn check_fraction(flag: &str, fraction: f64) -> Result<(), RunError> {
    match fraction > 0.0 && fraction <= 1.0 {
        true => Ok(()),
        false => Err(RunError::Setting(format!(
            "{flag} {fraction} is a fraction of the mean energy: above 0, at most 1"
        ))),
    }
}
