//! A run of LLM Surgeon, resolved.

use serde::Serialize;
use serde_json::{Value, json};

use super::factors::{self, Wanted};
use crate::checkpoint::{Checkpoint, STATE_FOLDER};
use crate::gpu::Gpu;
use crate::model::{ActivationOptions, Spec};
use crate::prune::surgeon::UpdateSettings;
use crate::run::RunError;
use crate::run::plan::{PruneOptions, Sums};
use crate::tensor::DType;

/// Rows of activations that go through a layer at once.
const ROWS: usize = 2048;

/// What the user asked for beyond [`PruneOptions`].
#[derive(Clone, Debug, PartialEq)]
pub struct SurgeonOptions {
    /// Times the curvature is estimated, and so the steps to the target.
    pub shots: usize,
    /// Damping of the factor of gradients, a fraction of its mean diagonal.
    pub output_damping: f64,
    /// Removed weights that are made up for together.
    pub max_correlate: usize,
}

impl Default for SurgeonOptions {
    fn default() -> Self {
        SurgeonOptions {
            shots: 5,
            output_damping: 0.1,
            max_correlate: UpdateSettings::default().max_correlate,
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
        let (mut linears, mut weights, mut factors, mut largest) = (0, 0, 0, Largest::default());
        for layer in 0..spec.layers {
            let bytes = factors::bytes(&spec, layer, Wanted::ALL)?;
            factors += bytes;
            largest.factors = largest.factors.max(bytes);
            let mut layer_bytes = 0;
            for linear in spec.linears_of(layer)? {
                options.pattern.check_width(&linear.tensor, linear.shape[1])?;
                linears += 1;
                weights += linear.shape[0] * linear.shape[1];
                let view = checkpoint.tensor_of_shape(&linear.tensor, &linear.stored_shape())?;
                layer_bytes += view.bytes.len() as u64;
                for part in &linear.parts {
                    let rows = part.rows.iter().map(|r| r.len()).sum::<usize>() as u64;
                    let cols = linear.shape[1] as u64;
                    largest.solve = largest
                        .solve
                        .max(4 * (11 * rows * cols + 3 * (rows * rows + cols * cols)));
                }
            }
            largest.weights = largest.weights.max(layer_bytes);
        }
        let tokens = (options.samples.samples * options.samples.length) as u64;
        let stream = 4 * tokens * spec.hidden as u64;
        let activation_bytes = stream * (spec.layers as u64 + 2);
        let rows = ROWS.max(options.samples.length).min(tokens as usize) as u64;
        let widest = (spec.ffn * 6 + spec.hidden * 8 + spec.heads * spec.head_dim * 8) as u64;
        let pass = largest.weights + largest.factors + 4 * rows * widest;
        let device_bytes = pass.max(largest.factors + largest.solve);
        let base =
            super::super::peak_resident().unwrap_or(0) + if gpu.is_host() { device_bytes } else { device_bytes / 4 };
        let activation_ram = options.max_ram.map(|limit| limit.saturating_sub(base));
        let settings = settings(&options, &surgeon, &spec, gpu);
        Ok(SurgeonPlan {
            settings,
            family: spec.family.clone(),
            linears,
            weights,
            adapter: gpu.name().to_string(),
            device_bytes,
            activation_bytes,
            activation_ram,
            host_bytes: base + activation_ram.unwrap_or(u64::MAX).min(activation_bytes),
            disk_bytes: factors
                + 2 * checkpoint.total_bytes()
                + activation_bytes.saturating_sub(activation_ram.unwrap_or(u64::MAX)),
            options,
            surgeon,
            spec,
        })
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

#[derive(Default)]
struct Largest {
    factors: u64,
    weights: u64,
    solve: u64,
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
    if surgeon.shots == 0 || surgeon.max_correlate == 0 {
        return wrong("--shots and --max-correlate must be at least 1".into());
    }
    if matches!(options.sums, Sums::Loaded(_)) {
        return wrong("--statistics holds no gradients: --method surgeon needs --calibration".into());
    }
    if options.limit_layers.is_some() || !options.only_layers.is_empty() {
        return wrong("--method surgeon weighs all layers against each other: drop --layers and --limit-layers".into());
    }
    if options.refit != 0 {
        return wrong("--refit: --method surgeon updates the kept weights itself; drop it".into());
    }
    Ok(())
}

/// Everything that shapes the result, for the identity of a run.
fn settings(options: &PruneOptions, surgeon: &SurgeonOptions, spec: &Spec, gpu: &Gpu) -> Value {
    json!({
        "tool": env!("CARGO_PKG_VERSION"),
        "family": spec.family,
        "method": "surgeon",
        "pattern": options.pattern,
        "damping": options.damping.fraction,
        "output_damping": surgeon.output_damping,
        "shots": surgeon.shots,
        "max_correlate": surgeon.max_correlate,
        "samples": options.samples,
        "adapter": gpu.name(),
    })
}
