//! What the user asked for, whatever the method.

use std::path::PathBuf;

use crate::calib::SampleSpec;
use crate::model::Group;
use crate::prune::{
    Allocation, Damping, Defaults, MAGNITUDE, METHODS, Method, MethodOptions, MethodRow, Needs, Pattern, Permute,
    Propagate, Scope, Within,
};
use crate::tensor::DType;

/// Calibration samples unless asked otherwise.
pub const DEFAULT_SAMPLES: usize = 128;
/// Tokens per sample or window unless asked otherwise or the model was made for less.
pub const DEFAULT_LENGTH: usize = 2048;
/// Tokens of the backward pass at most: shares of linears need fewer than their weights.
const CURVATURE_TOKENS: usize = 32768;

/// Where the sums over the inputs of linears come from, and whether they are all that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StatisticsSource {
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
    pub sums: StatisticsSource,
    /// Calibration text; of loaded sums, that which they were made from.
    pub calibration: PathBuf,
    /// Samples of it; likewise.
    pub samples: SampleSpec,
    /// Pattern.
    pub pattern: Pattern,
    /// Method.
    pub method: &'static MethodRow,
    /// Its own options.
    pub method_options: MethodOptions,
    /// Why it was chosen, if the user left that open.
    pub chosen: Option<String>,
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
            sums: StatisticsSource::Captured,
            calibration,
            samples,
            pattern: Pattern::Unstructured { sparsity, scope },
            method: METHODS[0],
            method_options: MethodOptions::default(),
            chosen: None,
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
    }

    /// Whether a layer is among those chosen.
    pub(in crate::run) fn prunes(&self, layer: usize) -> bool {
        self.only_layers.is_empty() || self.only_layers.contains(&layer)
    }

    /// With this method and what it sets where the user does not.
    pub fn by(self, method: &'static MethodRow) -> Self {
        let Defaults {
            damping,
            propagate,
            within,
            correction,
            refit,
            ..
        } = method.defaults;
        PruneOptions {
            refit,
            damping: Damping {
                rule: damping,
                ..self.damping
            },
            propagate,
            within,
            correction,
            method,
            method_options: MethodOptions::of(method),
            ..self
        }
    }

    /// Whether inputs are permuted.
    pub fn permutes(&self) -> bool {
        self.sums != StatisticsSource::Saved && self.permute.applies(self.pattern, self.method.defaults.permutes)
    }

    /// How sparsity is spread: uniform, or the rule.
    pub fn allocates(&self) -> Allocation {
        match self.sums {
            StatisticsSource::Saved => Allocation::Uniform,
            // Without a forward pass there are no gradients.
            StatisticsSource::Loaded(_) if self.allocation == Allocation::Auto => Allocation::Uniform,
            _ => self.allocation.resolve(self.pattern, self.method.defaults.allocation),
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
            sums: StatisticsSource::Saved,
            method: &MAGNITUDE,
            method_options: MethodOptions::default(),
            refit: 0,
            // One stream through one copy of the weights; nothing is pruned, so it is the dense one.
            propagate: Propagate::Pruned,
            within: Within::Linear,
            ..self
        }
    }

    /// What is summed up of the inputs for `method` and what is asked for beside it.
    pub(in crate::run) fn needs(&self, method: &dyn Method) -> Needs {
        let more = self.layer_errors || self.refit > 0 || self.permutes() || self.allocates() == Allocation::Lsa;
        match self.sums {
            StatisticsSource::Captured if !more => method.needs(),
            _ => Needs::Gram,
        }
    }

    /// Whether all sums of a decoder layer are captured in one pass: where no limit asks for less memory, and no expert
    /// for sums of its own.
    pub(in crate::run) fn captures_at_once(&self, groups: &[Group]) -> bool {
        let no_limit = self.max_ram.is_none() && self.max_vram.is_none();
        let no_expert = groups
            .iter()
            .all(|group| group.linears.iter().all(|l| l.id.expert.is_none()));
        let captured = self.sums == StatisticsSource::Captured;
        self.within == Within::Layer && self.propagate != Propagate::Both && captured && no_limit && no_expert
    }
}

/// Samples of the backward pass.
pub(super) fn curvature_samples(samples: &SampleSpec) -> usize {
    samples.samples.min((CURVATURE_TOKENS / samples.length.max(1)).max(1))
}
