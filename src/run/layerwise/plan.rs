//! A prune run, resolved: what will happen, and how much memory it will take.

use serde::Serialize;
use serde_json::{Value, json};

use super::statistics::Statistics;
use crate::checkpoint::{Checkpoint, STATE_FOLDER};
use crate::gpu::Gpu;
use crate::model::{ActivationOptions, Spec};
use crate::prune::{Allocation, Method, Needs, Pattern, Propagate, Within};
use crate::run::curvature::piece::check_binding;
use crate::run::folder::add_rounding;
use crate::run::predict::demand::{Budget, Demand};
use crate::run::{PruneOptions, RunError, StatisticsSource};

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
            let message = format!("`damping` {fraction} is a fraction of an input's energy: above 0, at most 1");
            return Err(RunError::Setting(message));
        }
        if !(0.0..=1.0).contains(&options.correction) {
            let message = format!(
                "`correction` {} is the share of earlier errors to correct: 0 to 1",
                options.correction
            );
            return Err(RunError::Setting(message));
        }
        if !(options.spread() > 0.0 && options.spread() < 1.0) {
            let message = format!(
                "`allocation-spread` {} is how far a linear's sparsity may lie from the target: above 0, below 1",
                options.spread()
            );
            return Err(RunError::Setting(message));
        }
        if matches!(options.pattern, Pattern::NM { .. })
            && !matches!(options.allocation, Allocation::Auto | Allocation::Uniform)
        {
            let message = format!(
                "`allocation` {}: {} is the same in every linear; use `sparsity`, or `allocation` uniform",
                options.allocation.name(),
                options.pattern
            );
            return Err(RunError::Setting(message));
        }
        if options.allocation == Allocation::Curvature && matches!(options.sums, StatisticsSource::Loaded(_)) {
            let message = "`allocation` curvature needs gradients, which `statistics` does not hold: use `calibration`";
            return Err(RunError::Setting(message.into()));
        }
        if options.within == Within::Layer && options.propagate == Propagate::Both {
            let message = "`within` layer prunes on inputs of one stream, `propagate` both on two; use `within` linear";
            return Err(RunError::Setting(message.into()));
        }
        if options.limit_layers == Some(0) {
            let message = "`limit-layers` 0 would prune nothing; use at least 1".to_string();
            return Err(RunError::Setting(message));
        }
        let mut layers = options.limit_layers.unwrap_or(spec.layers).min(spec.layers);
        if let Some(last) = options.only_layers.iter().max() {
            if *last >= layers {
                let message = format!("`layers` {last}: the layers to choose from are 0 to {}", layers - 1);
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
                    check_binding(gpu, &linear, "`allocation` uniform needs no curvature")?;
                }
                linears += 1;
                weights += linear.shape[0] * linear.shape[1];
            }
        }
        let Some(method) = options.method.layerwise(&options.method_options) else {
            return Err(RunError::Setting(format!(
                "method {} weighs all layers against each other: it is carried out in shots",
                options.method.name
            )));
        };
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
                StatisticsSource::Saved => gram_bytes(&spec, layers)?,
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
    pub(in crate::run) fn needs(&self) -> Needs {
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
    let StatisticsSource::Loaded(dir) = &options.sums else {
        return Ok(None);
    };
    if options.propagate != Propagate::Dense {
        let message = format!(
            "`statistics` holds inputs of the dense model, `propagate` {} needs a forward pass; drop one of the two",
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
        "method_options": options.method_options,
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
    if options.sums == StatisticsSource::Saved {
        settings["saves"] = "statistics".into();
    }
    add_rounding(&mut settings, gpu);
    settings
}
