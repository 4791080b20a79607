//! A run of LLM Surgeon, resolved.

use serde::Serialize;
use serde_json::{Value, json};

use super::options::{FactorPlace, Fisher, SurgeonOptions, check_fraction};
use crate::checkpoint::{Checkpoint, STATE_FOLDER};
use crate::gpu::Gpu;
use crate::model::{ActivationOptions, Spec};
use crate::prune::{Damping, Pattern};
use crate::run::RunError;
use crate::run::curvature::factors;
use crate::run::curvature::pass::Targets;
use crate::run::curvature::piece::check_binding;
use crate::run::curvature::weigh::CostRule;
use crate::run::folder::add_rounding;
use crate::run::options::{PruneOptions, StatisticsSource};
use crate::run::predict::demand::{READING, refuse, small, whole_batches};
use crate::run::predict::passes::{GatherPlan, Pass, Passes, correction};
use crate::run::predict::resident::{Process, free_disk};
use crate::tensor::DType;

/// Bytes on disk a weight while a search works: an iterate, and two solutions with their supports.
const FOUND_BYTES: u64 = 20;
/// Rows of activations that go through a layer at once, unless --max-vram wants fewer.
const ROWS: usize = 2048;

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
    /// Rows of activations that go through a layer at once.
    pub batch_rows: usize,
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
    /// Whether the factors of a shot are on disk between its passes; else a second backward pass gathers them again.
    pub factors_on_disk: bool,
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
        Self::resolve_for(GatherPlan::ALL, (options, surgeon), checkpoint, spec, gpu)
    }

    /// The same for shots that gather something else.
    pub(in crate::run) fn resolve_for(
        need: GatherPlan,
        (options, surgeon): (PruneOptions, SurgeonOptions),
        checkpoint: &Checkpoint,
        spec: Spec,
        gpu: &Gpu,
    ) -> Result<Self, RunError> {
        check(&options, &surgeon)?;
        let (mut linears, mut weights) = (0, 0);
        for layer in 0..spec.layers {
            for linear in spec.linears_of(layer)? {
                options.pattern.check_width(&linear.tensor, linear.shape[1])?;
                surgeon.low_rank.check_of(&linear)?;
                if need.pass == Pass::Backward {
                    check_binding(gpu, &linear, "other methods go in blocks of its rows")?;
                }
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
            batch_rows: 0,
            device_bytes: 0,
            activation_bytes: 0,
            activation_ram: None,
            host_bytes: 0,
            disk_bytes: 0,
            factors_on_disk: true,
            options,
            surgeon,
            spec,
        };
        plan.predict(checkpoint, gpu, need)?;
        if plan.batch_rows != ROWS {
            plan.settings["batch_rows"] = json!(plan.batch_rows);
        }
        Ok(plan)
    }

    /// What it will take, if a shot needs this; fails if that is beyond a limit.
    fn predict(&mut self, checkpoint: &Checkpoint, gpu: &Gpu, need: GatherPlan) -> Result<(), RunError> {
        let (spec, options) = (&self.spec, &self.options);
        let [samples, length] = [options.samples.samples, options.samples.length];
        let stream = |samples| (4 * samples * length * spec.hidden) as u64;
        self.activation_bytes = stream(samples) * need.streams(spec.layers);
        let (correct, corrections) = match self.surgeon.low_rank.steps {
            0 => (0, 0),
            _ => {
                let one = stream(1) * GatherPlan::ALL.streams(spec.layers);
                self.activation_bytes = self.activation_bytes.max(one);
                correction(gpu, checkpoint, spec, [length, self.surgeon.low_rank.rank])?
            }
        };
        let process = Process::of(gpu, checkpoint, spec, length, need.way());
        let ids = (4 * samples * length * self.sample_sets()) as u64;
        self.batch_rows = ROWS;
        let host = loop {
            let rows = self.batch_rows.max(length).min(samples * length);
            let passes = Passes::of(gpu, checkpoint, spec, [samples * length, rows], need)?;
            let Passes { gather, solve, .. } = passes;
            self.device_bytes = gather.max(solve).max(correct) + small(spec, gpu, length);
            let host = ids + corrections + passes.host(gpu, &process, spec, [rows as u64, self.device_bytes]);
            let refused = refuse(
                "`max-vram`",
                options.max_vram,
                self.device_bytes,
                &most(&passes, correct),
            )
            .and_then(|()| refuse("`max-ram`", options.max_ram, host, &most(&passes, correct)));
            match refused {
                Ok(()) => break host,
                // Smaller batches make only what goes through a layer smaller.
                Err(refused) if gather < solve.max(correct) || self.batch_rows <= length => return Err(refused),
                Err(_) => self.batch_rows /= 2,
            }
        };
        let prepare = process.tokenising(&options.calibration);
        refuse("`max-ram`", options.max_ram, prepare, READING)?;
        self.activation_ram = options.max_ram.map(|limit| limit - host);
        let streams = need.streams(spec.layers).max(1);
        let batch = stream((self.batch_rows / length).max(1));
        let share = self.activation_ram.map_or(u64::MAX, |ram| ram / streams);
        let held = streams * whole_batches(share, self.activation_bytes / streams, batch);
        self.host_bytes = (host + held).max(prepare);
        let mut factors = 0;
        for layer in 0..spec.layers {
            factors += factors::bytes(spec, layer, need.factors)?;
        }
        let found = if self.searches() {
            FOUND_BYTES * self.weights as u64
        } else {
            0
        };
        let others = corrections + 2 * checkpoint.total_bytes() + found + self.activation_bytes - held;
        self.factors_on_disk = match self.surgeon.factors {
            FactorPlace::Disk => true,
            FactorPlace::Recompute => false,
            FactorPlace::Auto if !need.again => true,
            FactorPlace::Auto if self.surgeon.reads_often(options.method).is_some() => true,
            FactorPlace::Auto => free_disk(&options.output).is_none_or(|free| factors + others <= free),
        };
        self.disk_bytes = others + if self.factors_on_disk { factors } else { 0 };
        Ok(())
    }

    /// Whether it searches a better solution than LLM Surgeon's.
    pub fn searches(&self) -> bool {
        self.options.method.searches()
    }

    /// Steps that leave a checkpoint: a shot, and its correction if it has one.
    pub(in crate::run) fn steps_per_shot(&self) -> usize {
        1 + usize::from(self.surgeon.low_rank.steps > 0)
    }

    /// Sets of samples that the shots want.
    pub(in crate::run) fn sample_sets(&self) -> usize {
        match self.surgeon.same_samples {
            true => 1,
            false => self.surgeon.shots,
        }
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
    pub(in crate::run) fn steps(&self) -> usize {
        self.linears
            * if self.searches() {
                self.surgeon.search.passes()
            } else {
                2
            }
            + self.linears * self.surgeon.half_steps
    }

    /// How its costs are counted.
    pub(in crate::run) fn weigh(&self, shot: usize) -> CostRule {
        let share = (shot + 1) as f64 / self.surgeon.shots as f64;
        CostRule {
            pattern: self.options.pattern,
            share: match self.options.pattern {
                // A group is done or not.
                Pattern::NM { .. } => share,
                pattern => share * pattern.sparsity(),
            },
            damping: self.damping(),
        }
    }

    /// Damping of the factors of inputs and of outputs.
    pub(in crate::run) fn damping(&self) -> [Damping; 2] {
        [self.options.damping, self.surgeon.damping_of_outputs()]
    }

    /// How activations are kept between layers, beside the output.
    pub(in crate::run) fn activation_options(&self) -> ActivationOptions {
        ActivationOptions {
            dtype: DType::F32,
            ram_budget: self.activation_ram,
            spill_dir: self.options.output.join(STATE_FOLDER),
            rows: self.batch_rows,
        }
    }
}

fn check(options: &PruneOptions, surgeon: &SurgeonOptions) -> Result<(), RunError> {
    let wrong = |message: String| Err(RunError::Setting(message));
    let method = options.method;
    check_fraction("`damping`", options.damping.fraction)?;
    surgeon.check(method)?;
    options.samples.check()?;
    if matches!(options.sums, StatisticsSource::Loaded(_)) {
        return wrong(format!(
            "`statistics` holds no gradients: `method` {method} needs `calibration`"
        ));
    }
    if options.limit_layers.is_some() || !options.only_layers.is_empty() {
        return wrong(format!(
            "`method` {method} weighs all layers against each other: drop `layers` and `limit-layers`"
        ));
    }
    Ok(())
}

/// What takes the most of a shot, if corrections take so much.
fn most(passes: &Passes, correct: u64) -> String {
    let Passes { gather, solve, .. } = *passes;
    match gather.max(solve) < correct {
        true => "the correction of a layer takes the most: fewer tokens per sample (`length`) take less",
        false if gather < solve => {
            "the solve of the largest linear takes the most: other methods go in blocks of its rows"
        }
        false => "the backward pass of a layer takes the most: fewer tokens per sample (`length`) take less",
    }
    .into()
}

/// Everything that shapes the result, for the identity of a run.
fn settings(options: &PruneOptions, surgeon: &SurgeonOptions, spec: &Spec, gpu: &Gpu) -> Value {
    let mut settings = json!({
        "tool": env!("CARGO_PKG_VERSION"),
        "family": spec.family,
        "family_fingerprint": spec.fingerprint(),
        "method": options.method,
        "pattern": options.pattern,
        "damping": options.damping,
        "output_damping": surgeon.output_damping,
        "shots": surgeon.shots,
        "same_samples": surgeon.same_samples,
        "max_correlate": surgeon.max_correlate,
        "refit": surgeon.refit,
        "fisher": surgeon.fisher,
        "samples": options.samples,
        "adapter": gpu.name(),
    });
    add_rounding(&mut settings, gpu);
    if surgeon.low_rank.steps > 0 {
        settings["low_rank"] = json!(surgeon.low_rank);
    }
    if surgeon.half_steps > 0 {
        settings["half_steps"] = json!(surgeon.half_steps);
    }
    if surgeon.lines.any() {
        settings["structure"] = json!(surgeon.lines.name());
    }
    if options.method.searches() {
        settings["search"] = json!(surgeon.search);
    }
    settings
}
