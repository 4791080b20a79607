//! A run of LLM Surgeon, resolved.

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};

use super::factors;
use super::need::{self, Need, Passes};
use super::pass::Targets;
use super::prune::Weigh;
use crate::checkpoint::{Checkpoint, STATE_FOLDER};
use crate::gpu::Gpu;
use crate::model::{ActivationOptions, Spec};
use crate::run::RunError;
use crate::run::plan::{PruneOptions, Sums};
use crate::tensor::DType;

/// Name of the method.
pub const SURGEON: &str = "surgeon";
/// Name of K-FAC-weighted convex pruning, which goes on where [`SURGEON`] ends.
pub const KFAC_FISTA: &str = "kfac-fista";
/// Methods that weigh all layers against each other by gradients.
pub const BY_GRADIENTS: [&str; 2] = [SURGEON, KFAC_FISTA];
/// Bytes on disk a weight while a search works: an iterate, and two solutions with their supports.
const FOUND_BYTES: u64 = 20;
/// Rows of activations that go through a layer at once.
const ROWS: usize = 2048;

/// What the user asked for beyond [`PruneOptions`].
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
    /// What [`KFAC_FISTA`] does beyond; not used by [`SURGEON`].
    pub search: SearchOptions,
    /// Corrections after each shot.
    pub low_rank: LowRankOptions,
    /// Whole rows and columns in place of single weights.
    pub lines: LineKinds,
}

/// Whether whole rows (outputs) and columns (inputs) of each linear go, by [`SURGEON`]. They become zero: nothing gets
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Fisher {
    /// Of the text's own tokens, as published
    #[default]
    Empirical,
    /// Of tokens drawn from the model's distribution, anew in every shot, by --seed: the Fisher information proper
    Sampled,
}

impl Fisher {
    /// Name on the command line and in reports.
    pub fn name(self) -> String {
        self.to_possible_value().expect("none is hidden").get_name().to_string()
    }
}

/// How [`KFAC_FISTA`] searches, within each shot.
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
            output_damping: 0.1,
            // All of a linear's weights together cost less than chunks of them, and lose less.
            max_correlate: 0,
            refit: 20,
            fisher: Fisher::default(),
            half_steps: 0,
            search: SearchOptions::default(),
            low_rank: LowRankOptions::default(),
            lines: LineKinds::default(),
        }
    }
}

/// A resolved run; printable before it starts.
#[derive(Serialize)]
pub struct SurgeonPlan {
    /// Options as given.
    #[serde(skip)]
    pub options: PruneOptions,
    /// Those of the method.
    #[serde(skip)]
    pub surgeon: SurgeonOptions,
    /// Sizes of the model.
    #[serde(skip)]
    pub spec: Spec,
    /// What decides the result; a run can only be resumed with the same.
    pub settings: Value,
    /// Why the method was chosen, if the user left that open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
    /// Family file.
    pub family: String,
    /// Linears that will be pruned.
    pub linears: usize,
    /// Weights that will be pruned.
    pub weights: usize,
    /// Device.
    pub adapter: String,
    /// Bytes of device buffers at once, predicted.
    pub device_bytes: u64,
    /// Bytes of the streams between layers, of all samples.
    pub activation_bytes: u64,
    /// Bytes of activations in memory; the rest is in a file.
    pub activation_ram: Option<u64>,
    /// Resident bytes of the process, predicted.
    pub host_bytes: u64,
    /// Bytes on disk while it runs: curvature factors and the checkpoint of a shot.
    pub disk_bytes: u64,
}

impl SurgeonPlan {
    /// Checks the options against the checkpoint. Touches no output.
    pub fn resolve(
        options: PruneOptions,
        surgeon: SurgeonOptions,
        checkpoint: &Checkpoint,
        spec: Spec,
        gpu: &Gpu,
    ) -> Result<Self, RunError> {
        check(&options, &surgeon)?;
        let (mut linears, mut weights) = (0, 0);
        for layer in 0..spec.layers {
            for linear in spec.linears_of(layer)? {
                options.pattern.check_width(&linear.tensor, linear.shape[1])?;
                linears += 1;
                weights += linear.shape[0] * linear.shape[1];
            }
        }
        let mut plan = SurgeonPlan {
            settings: settings(&options, &surgeon, &spec, gpu),
            chosen: options.chosen.clone(),
            family: spec.family.clone(),
            linears,
            weights,
            adapter: gpu.name().to_string(),
            device_bytes: 0,
            activation_bytes: 0,
            activation_ram: None,
            host_bytes: 0,
            disk_bytes: 0,
            options,
            surgeon,
            spec,
        };
        plan.predict(checkpoint, gpu, Need::ALL)?;
        Ok(plan)
    }

    /// What it will take, if a shot needs this.
    pub(in crate::run) fn predict(&mut self, checkpoint: &Checkpoint, gpu: &Gpu, need: Need) -> Result<(), RunError> {
        let (spec, options) = (&self.spec, &self.options);
        let tokens = options.samples.samples * options.samples.length;
        let stream = (4 * tokens * spec.hidden) as u64;
        self.activation_bytes = stream * need.streams(spec.layers);
        let rows = ROWS.max(options.samples.length).min(tokens);
        let Passes { gather, solve } = Passes::of(checkpoint, spec, rows, need)?;
        let (correct, corrections) = match self.surgeon.low_rank.steps {
            0 => (0, 0),
            _ => need::correction(spec, options.samples.length, self.surgeon.low_rank.rank)?,
        };
        self.device_bytes = gather.max(solve).max(correct) + gpu.scratch_bytes();
        // The mapped pages of the embedding count while a pass begins and ends.
        let base = super::super::peak_resident().unwrap_or(0)
            + checkpoint.largest_tensor_bytes()
            + corrections
            + if gpu.is_host() {
                self.device_bytes
            } else {
                self.device_bytes / 4
            };
        self.activation_ram = options.max_ram.map(|limit| limit.saturating_sub(base));
        let held = self.activation_ram.unwrap_or(u64::MAX).min(self.activation_bytes);
        self.host_bytes = base + held;
        let mut factors = 0;
        for layer in 0..spec.layers {
            factors += factors::bytes(spec, layer, need.factors)?;
        }
        let found = if self.searches() {
            FOUND_BYTES * self.weights as u64
        } else {
            0
        };
        self.disk_bytes = factors + corrections + 2 * checkpoint.total_bytes() + found + self.activation_bytes - held;
        Ok(())
    }

    /// Whether it searches a better solution than LLM Surgeon's.
    pub fn searches(&self) -> bool {
        self.options.method == KFAC_FISTA
    }

    /// Steps that leave a checkpoint: a shot, and its correction if it has one.
    pub(super) fn steps_per_shot(&self) -> usize {
        1 + usize::from(self.surgeon.low_rank.steps > 0)
    }

    /// Targets of the backward pass of a shot.
    pub(in crate::run) fn targets(&self, shot: usize) -> Targets {
        match self.surgeon.fisher {
            Fisher::Empirical => Targets::Next,
            Fisher::Sampled => Targets::Drawn((self.options.samples.seed << 16) + shot as u64),
        }
    }

    /// Products of a linear with both factors of its curvature in a shot: steps of FISTA and of refits.
    pub fn products(&self) -> usize {
        let search = self.surgeon.search;
        let refits = if self.searches() { 1 + search.rounds } else { 1 };
        let descents = if self.searches() {
            search.rounds * search.steps
        } else {
            0
        };
        refits * self.surgeon.refit + descents
    }

    /// Linears gone through in a shot, all passes together.
    pub(super) fn steps(&self) -> usize {
        self.linears
            * if self.searches() {
                self.surgeon.search.passes()
            } else {
                2
            }
            + self.linears * self.surgeon.half_steps
    }

    /// How its costs are counted.
    pub(super) fn weigh(&self) -> Weigh {
        Weigh {
            pattern: self.options.pattern,
            damping: [self.options.damping.fraction, self.surgeon.output_damping],
        }
    }

    /// How activations are kept between layers, beside the output.
    pub(in crate::run) fn activation_options(&self) -> ActivationOptions {
        ActivationOptions {
            dtype: DType::F32,
            ram_budget: self.activation_ram,
            spill_dir: self.options.output.join(STATE_FOLDER),
            rows: ROWS,
        }
    }
}

fn check(options: &PruneOptions, surgeon: &SurgeonOptions) -> Result<(), RunError> {
    let wrong = |message: String| Err(RunError::Setting(message));
    for (flag, fraction) in [
        ("--damping", options.damping.fraction),
        ("--output-damping", surgeon.output_damping),
    ] {
        if !(fraction > 0.0 && fraction <= 1.0) {
            return wrong(format!(
                "{flag} {fraction} is a fraction of the mean energy: above 0, at most 1"
            ));
        }
    }
    let low_rank = surgeon.low_rank;
    if low_rank.steps > 0 && low_rank.rank == 0 {
        return wrong("--lora-rank 0 corrects nothing; use at least 1, or drop --lora-steps".into());
    }
    if !(low_rank.rate > 0.0 && low_rank.rate <= 1.0) {
        let rate = low_rank.rate;
        return wrong(format!("--lora-rate {rate} is a step of weights: above 0, at most 1"));
    }
    if surgeon.shots == 0 {
        return wrong("--shots 0 would prune nothing; use at least 1".into());
    }
    if options.method == KFAC_FISTA {
        if surgeon.refit == 0 {
            return wrong(format!(
                "--refit 0: --method {KFAC_FISTA} ends with a refit; use at least 1"
            ));
        }
        if surgeon.max_correlate > 0 {
            let message = format!("--max-correlate is for --method {SURGEON}; --method {KFAC_FISTA} refits: drop it");
            return wrong(message);
        }
        if surgeon.search.rounds == 0 || surgeon.search.steps == 0 {
            return wrong("a search has at least one round of one step".into());
        }
    }
    if surgeon.max_correlate == 0 && surgeon.refit == 0 {
        return wrong(
            "--max-correlate 0 and --refit 0 leave nothing that updates the kept weights; set one of them".into(),
        );
    }
    if matches!(options.sums, Sums::Loaded(_)) {
        let method = &options.method;
        return wrong(format!(
            "--statistics holds no gradients: --method {method} needs --calibration"
        ));
    }
    if options.limit_layers.is_some() || !options.only_layers.is_empty() {
        let method = &options.method;
        return wrong(format!(
            "--method {method} weighs all layers against each other: drop --layers and --limit-layers"
        ));
    }
    Ok(())
}

/// Everything that shapes the result, for the identity of a run.
fn settings(options: &PruneOptions, surgeon: &SurgeonOptions, spec: &Spec, gpu: &Gpu) -> Value {
    let mut settings = json!({
        "tool": env!("CARGO_PKG_VERSION"),
        "family": spec.family,
        "method": options.method,
        "pattern": options.pattern,
        "damping": options.damping.fraction,
        "output_damping": surgeon.output_damping,
        "shots": surgeon.shots,
        "max_correlate": surgeon.max_correlate,
        "refit": surgeon.refit,
        "fisher": surgeon.fisher,
        "samples": options.samples,
        "adapter": gpu.name(),
    });
    if surgeon.low_rank.steps > 0 {
        settings["low_rank"] = json!(surgeon.low_rank);
    }
    if surgeon.half_steps > 0 {
        settings["half_steps"] = json!(surgeon.half_steps);
    }
    if surgeon.lines.any() {
        settings["structure"] = json!(surgeon.lines.name());
    }
    if options.method == KFAC_FISTA {
        settings["search"] = json!(surgeon.search);
    }
    settings
}
