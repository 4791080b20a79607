//! A prune run, resolved: what will happen, and how much memory it will take.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};

use super::RunError;
use super::memory::{Budget, Demand};
use super::state::add_rounding;
use super::statistics::Statistics;
use super::surgeon::check_binding;
use crate::calib::SampleSpec;
use crate::checkpoint::{Checkpoint, STATE_FOLDER};
use crate::gpu::Gpu;
use crate::model::{ActivationOptions, Group, Spec};
use crate::prune::{
    Allocation, Damping, METHODS, Method, Needs, Pattern, Permute, Propagate, Scope, WarmStart, Within, method,
};
use crate::tensor::DType;

/// Where the sums over the inputs of linears come from, and whether they are all that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sums {
    /// From forward passes, to prune on.
    #[default]
    Captured,
    /// From forward passes of the dense model, to be saved; nothing is pruned, so what is set of pruning is not used.
    Saved,
    /// From this folder, saved before: inputs of the dense model, and no correction of errors made earlier in a layer.
    Loaded(PathBuf),
}

/// What the user asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct PruneOptions {
    /// Source checkpoint folder.
    pub model: PathBuf,
    /// Output folder; must not exist or be empty, unless a run in it is resumed.
    pub output: PathBuf,
    /// Where sums of inputs come from.
    pub sums: Sums,
    /// Calibration text; of loaded sums, that which they were made from.
    pub calibration: PathBuf,
    /// Samples of it; likewise.
    pub samples: SampleSpec,
    /// Pattern.
    pub pattern: Pattern,
    /// Method name.
    pub method: String,
    /// Why it was chosen, if the user left that open.
    pub chosen: Option<String>,
    /// Where FISTAPruner begins.
    pub warm_start: WarmStart,
    /// Conjugate-gradient steps after the method; 0 is off.
    pub refit: usize,
    /// Damping.
    pub damping: Damping,
    /// Share of the drift between the pruned and the dense stream that is corrected, 0 to 1.
    pub correction: f64,
    /// Inputs of decoder layers.
    pub propagate: Propagate,
    /// Inputs of the linear layers inside them.
    pub within: Within,
    /// Measure the error of every linear layer, where the method does not need what that takes.
    pub layer_errors: bool,
    /// Whether inputs that another linear writes are put in an order that suits an N:M pattern.
    pub permute: Permute,
    /// How an unstructured sparsity is spread over the linears.
    pub allocation: Allocation,
    /// How far sparsities may lie from the target; by default what suits the rule.
    pub spread: Option<f64>,
    /// Prune only the first layers; the rest are copied.
    pub limit_layers: Option<usize>,
    /// Prune only these layers; empty is all.
    pub only_layers: Vec<usize>,
    /// Stored type of activations between layers; by default f32, or bf16 where that does not fit `max_ram`.
    pub activations: Option<DType>,
    /// Limit of device buffers, bytes.
    pub max_vram: Option<u64>,
    /// Limit of resident host memory, bytes.
    pub max_ram: Option<u64>,
    /// Go on with an unfinished run in the output folder.
    pub resume: bool,
}

impl PruneOptions {
    /// The defaults: half of the weights by the default method.
    pub fn new(model: PathBuf, output: PathBuf, calibration: PathBuf, samples: SampleSpec) -> Self {
        let (sparsity, scope) = (0.5, Scope::Matrix);
        PruneOptions {
            model,
            output,
            sums: Sums::Captured,
            calibration,
            samples,
            pattern: Pattern::Unstructured { sparsity, scope },
            method: String::new(),
            chosen: None,
            warm_start: WarmStart::default(),
            refit: 0,
            damping: Damping::default(),
            correction: 1.0,
            propagate: Propagate::default(),
            within: Within::Linear,
            layer_errors: false,
            permute: Permute::default(),
            allocation: Allocation::default(),
            spread: None,
            limit_layers: None,
            only_layers: Vec::new(),
            activations: None,
            max_vram: None,
            max_ram: None,
            resume: false,
        }
        .by(METHODS[0])
        .expect("the first method exists")
    }

    /// Whether a layer is among those chosen.
    pub(super) fn prunes(&self, layer: usize) -> bool {
        self.only_layers.is_empty() || self.only_layers.contains(&layer)
    }

    /// With this method and what belongs to it: damping rule, inputs of layers, refit.
    pub fn by(self, name: &str) -> Result<Self, RunError> {
        let method = method(name, self.warm_start).ok_or_else(|| RunError::unknown_method(name))?;
        Ok(PruneOptions {
            refit: method.refit(),
            damping: Damping {
                rule: method.damping(),
                ..self.damping
            },
            propagate: method.propagate(),
            within: method.within(),
            correction: method.correction(),
            method: name.to_string(),
            ..self
        })
    }

    /// Whether inputs are permuted.
    pub fn permutes(&self) -> bool {
        self.sums != Sums::Saved && self.permute.applies(self.pattern, &self.method)
    }

    /// How sparsity is spread: uniform, or the rule.
    pub fn allocates(&self) -> Allocation {
        match self.sums {
            Sums::Saved => Allocation::Uniform,
            // Without a forward pass there are no gradients.
            Sums::Loaded(_) if self.allocation == Allocation::Auto => Allocation::Uniform,
            _ => self.allocation.resolve(self.pattern, &self.method),
        }
    }

    /// The spread, if anything is spread.
    pub fn spread_in_use(&self) -> Option<f64> {
        (self.allocates() != Allocation::Uniform).then(|| self.spread())
    }

    /// How far sparsities may lie from the target.
    pub fn spread(&self) -> f64 {
        (self.spread).unwrap_or_else(|| self.allocates().spread(self.pattern.sparsity()))
    }

    /// For [`super::calibrate`]: one pass through the dense model, in the memory that takes.
    pub fn to_save(self) -> Self {
        PruneOptions {
            sums: Sums::Saved,
            method: "magnitude".into(),
            refit: 0,
            // One stream through one copy of the weights; nothing is pruned, so it is the dense one.
            propagate: Propagate::Pruned,
            within: Within::Linear,
            ..self
        }
    }

    /// What is summed up of the inputs for `method` and what is asked for beside it.
    pub(super) fn needs(&self, method: &dyn Method) -> Needs {
        let more = self.layer_errors || self.refit > 0 || self.permutes() || self.allocates() == Allocation::Lsa;
        match self.sums {
            Sums::Captured if !more => method.needs(),
            _ => Needs::Gram,
        }
    }

    /// Whether all sums of a decoder layer are captured in one pass: where no limit asks for less memory, and no expert
    /// for sums of its own.
    pub(super) fn captures_at_once(&self, groups: &[Group]) -> bool {
        let no_limit = self.max_ram.is_none() && self.max_vram.is_none();
        let no_expert = groups
            .iter()
            .all(|group| group.linears.iter().all(|l| l.id.expert.is_none()));
        let captured = self.sums == Sums::Captured;
        self.within == Within::Layer && self.propagate != Propagate::Both && captured && no_limit && no_expert
    }
}

/// A resolved run; printable before it starts.
#[derive(Serialize)]
pub struct Plan {
    /// Options as given.
    #[serde(skip)]
    pub options: PruneOptions,
    /// Sizes of the model.
    #[serde(skip)]
    pub spec: Spec,
    /// The method.
    #[serde(skip)]
    pub method: Box<dyn Method>,
    /// Sums saved before, if inputs are taken from there.
    #[serde(skip)]
    pub statistics: Option<Statistics>,
    /// What decides the result; a run can only be resumed with the same.
    pub settings: Value,
    /// Why the method was chosen, if the user left that open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
    /// Family file.
    pub family: String,
    /// Decoder layers to prune.
    pub layers: usize,
    /// Linears that will be pruned.
    pub linears: usize,
    /// Weights that will be pruned.
    pub weights: usize,
    /// Device.
    pub adapter: String,
    /// Memory, predicted.
    #[serde(flatten)]
    pub demand: Demand,
    /// Bytes of the output's weights; the streams of activations for `--resume` come on top while it runs.
    pub output_bytes: u64,
    /// Rough number of floating-point operations.
    pub flops: f64,
}

impl Plan {
    /// Checks the options against the checkpoint. Touches no output.
    pub fn resolve(
        mut options: PruneOptions,
        checkpoint: &Checkpoint,
        spec: Spec,
        gpu: &Gpu,
    ) -> Result<Self, RunError> {
        let fraction = options.damping.fraction;
        if !(fraction > 0.0 && fraction <= 1.0) {
            let message = format!("--damping {fraction} is a fraction of an input's energy: above 0, at most 1");
            return Err(RunError::Setting(message));
        }
        if !(0.0..=1.0).contains(&options.correction) {
            let message = format!(
                "--correction {} is the share of earlier errors to correct: 0 to 1",
                options.correction
            );
            return Err(RunError::Setting(message));
        }
        if !(options.spread() > 0.0 && options.spread() < 1.0) {
            let message = format!(
                "--allocation-spread {} is how far a linear's sparsity may lie from the target: above 0, below 1",
                options.spread()
            );
            return Err(RunError::Setting(message));
        }
        if matches!(options.pattern, Pattern::NM { .. })
            && !matches!(options.allocation, Allocation::Auto | Allocation::Uniform)
        {
            let message = format!(
                "--allocation {}: {} is the same in every linear; use --sparsity, or --allocation uniform",
                options.allocation.name(),
                options.pattern
            );
            return Err(RunError::Setting(message));
        }
        if options.allocation == Allocation::Curvature && matches!(options.sums, Sums::Loaded(_)) {
            let message = "--allocation curvature needs gradients, which --statistics does not hold: use --calibration";
            return Err(RunError::Setting(message.into()));
        }
        if options.within == Within::Layer && options.propagate == Propagate::Both {
            let message = "--within layer prunes on inputs of one stream, --propagate both on two; use --within linear";
            return Err(RunError::Setting(message.into()));
        }
        if options.limit_layers == Some(0) {
            let message = "--limit-layers 0 would prune nothing; use at least 1".to_string();
            return Err(RunError::Setting(message));
        }
        let mut layers = options.limit_layers.unwrap_or(spec.layers).min(spec.layers);
        if let Some(last) = options.only_layers.iter().max() {
            if *last >= layers {
                let message = format!("--layers {last}: the layers to choose from are 0 to {}", layers - 1);
                return Err(RunError::Setting(message));
            }
            layers = last + 1;
        }
        let statistics = statistics(&mut options, checkpoint, &spec, layers)?;
        let (mut linears, mut weights) = (0, 0);
        for layer in (0..layers).filter(|layer| options.prunes(*layer)) {
            for linear in spec.linears_of(layer)? {
                options.pattern.check_width(&linear.tensor, linear.shape[1])?;
                if options.allocates() == Allocation::Curvature {
                    check_binding(gpu, &linear, "--allocation uniform needs no curvature")?;
                }
                linears += 1;
                weights += linear.shape[0] * linear.shape[1];
            }
        }
        let method =
            method(&options.method, options.warm_start).ok_or_else(|| RunError::unknown_method(&options.method))?;
        let demand = Budget {
            spec: &spec,
            checkpoint,
            gpu,
            options: &options,
            method: &*method,
        }
        .resolve(layers)?;
        let mut settings = settings(&options, &spec, &demand, gpu);
        if let Some(statistics) = &statistics {
            settings["statistics"] = statistics.manifest.key().into();
        }
        Ok(Plan {
            settings,
            statistics,
            chosen: options.chosen.clone(),
            family: spec.family.clone(),
            layers,
            linears,
            weights,
            adapter: gpu.name().to_string(),
            output_bytes: match options.sums {
                Sums::Saved => gram_bytes(&spec, layers)?,
                _ => checkpoint.total_bytes(),
            },
            flops: demand.flops(&spec, &options, &*method, layers)?,
            demand,
            method,
            spec,
            options,
        })
    }

    /// Whether a layer is to be pruned.
    pub fn prunes(&self, layer: usize) -> bool {
        self.options.prunes(layer)
    }

    /// What is summed up of the inputs.
    pub(super) fn needs(&self) -> Needs {
        self.options.needs(&*self.method)
    }

    /// Outputs of a linear that are solved together: all, unless the device binds or the budget allows less.
    pub fn solver_rows(&self, gpu: &Gpu, [rows, cols]: [usize; 2]) -> usize {
        let matrix = gpu.limits().binding.min(self.demand.solver_matrix_bytes);
        ((matrix / (4 * cols as u64)) as usize).clamp(1, rows)
    }

    /// How activations are kept between layers, beside the output.
    pub fn activation_options(&self) -> ActivationOptions {
        ActivationOptions {
            dtype: self.demand.activations,
            ram_budget: self.demand.activation_ram,
            spill_dir: self.options.output.join(STATE_FOLDER),
            rows: self.demand.batch_rows,
        }
    }
}

/// Opens the sums to be loaded and takes from them what they were made with.
fn statistics(
    options: &mut PruneOptions,
    checkpoint: &Checkpoint,
    spec: &Spec,
    layers: usize,
) -> Result<Option<Statistics>, RunError> {
    let Sums::Loaded(dir) = &options.sums else {
        return Ok(None);
    };
    if options.propagate != Propagate::Dense {
        let message = format!(
            "--statistics holds inputs of the dense model, --propagate {} needs a forward pass; drop one of the two",
            options.propagate.name()
        );
        return Err(RunError::Setting(message));
    }
    let statistics = Statistics::open(dir)?;
    statistics.check(checkpoint, spec, layers)?;
    let made = &statistics.manifest.calibration;
    options.calibration = made.source.clone().into();
    (options.samples.samples, options.samples.length) = (made.samples, made.length);
    options.samples.seed = made.seed;
    // There is no drift to correct.
    options.correction = 0.0;
    Ok(Some(statistics))
}

/// Bytes of the Grams of the first `layers` layers.
fn gram_bytes(spec: &Spec, layers: usize) -> Result<u64, RunError> {
    let mut bytes = 0;
    for layer in 0..layers {
        let widths = spec.groups(layer)?.into_iter().map(|g| spec.width(g.input) as u64);
        bytes += widths.map(|n| 4 * n * n).sum::<u64>();
    }
    Ok(bytes)
}

/// Everything that shapes the result, for the identity of a run.
fn settings(options: &PruneOptions, spec: &Spec, demand: &Demand, gpu: &Gpu) -> Value {
    let mut settings = json!({
        "tool": env!("CARGO_PKG_VERSION"),
        "family": spec.family,
        "family_fingerprint": spec.fingerprint(),
        "method": options.method,
        "warm_start": options.warm_start,
        "pattern": options.pattern,
        "refit": options.refit,
        "damping": options.damping,
        "correction": options.correction,
        "propagate": options.propagate,
        "within": options.within,
        "layer_errors": options.layer_errors,
        "permute": options.permutes(),
        "allocation": options.allocates().name(),
        "spread": options.spread_in_use(),
        "limit_layers": options.limit_layers,
        "only_layers": options.only_layers,
        "samples": options.samples,
        "activations": demand.activations.name(),
        "batch_rows": demand.batch_rows,
        "solver_matrix_bytes": demand.solver_matrix_bytes.min(gpu.limits().binding),
        "adapter": gpu.name(),
    });
    add_rounding(&mut settings, gpu);
    settings
}
