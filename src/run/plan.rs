//! A prune run, resolved: what will happen, and how much memory it will take.

use std::path::PathBuf;

use serde::Serialize;

use super::RunError;
use crate::calib::SampleSpec;
use crate::checkpoint::Checkpoint;
use crate::gpu::Gpu;
use crate::model::{Activations, Role, Spec};
use crate::prune::{METHODS, Method, Pattern, method};

/// Which inputs a decoder layer sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Propagate {
    /// Dense inputs; within the layer, pruned inputs with dense targets. Layers are independent (published FISTAPruner).
    #[default]
    Dense,
    /// Inputs from the pruned layers before; within the layer, targets of the dense layer on those same inputs.
    Local,
    /// Inputs from the pruned layers before, and targets on the same inputs everywhere (no correction, as SparseGPT).
    Pruned,
}

impl Propagate {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Propagate::Dense => "dense",
            Propagate::Local => "local",
            Propagate::Pruned => "pruned",
        }
    }
}

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct PruneOptions {
    /// Source checkpoint folder.
    pub model: PathBuf,
    /// Output folder; must not exist or be empty.
    pub output: PathBuf,
    /// Calibration text.
    pub calibration: PathBuf,
    /// Samples of it.
    pub samples: SampleSpec,
    /// Pattern.
    pub pattern: Pattern,
    /// Method name.
    pub method: String,
    /// Conjugate-gradient steps after the method; 0 is off.
    pub refit: usize,
    /// Relative damping.
    pub damping: f64,
    /// Inputs of decoder layers.
    pub propagate: Propagate,
    /// Prune only the first layers; the rest are copied.
    pub limit_layers: Option<usize>,
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
    /// Family file.
    pub family: String,
    /// Decoder layers to prune.
    pub layers: usize,
    /// Weights that will be pruned.
    pub weights: usize,
    /// Device.
    pub adapter: String,
    /// Predicted peak of device buffers, bytes.
    pub device_bytes: u64,
    /// Predicted peak of resident host memory, bytes.
    pub host_bytes: u64,
    /// Bytes the output will take.
    pub output_bytes: u64,
}

impl Plan {
    /// Checks the options against the checkpoint. Touches no output.
    pub fn resolve(options: PruneOptions, checkpoint: &Checkpoint, gpu: &Gpu) -> Result<Self, RunError> {
        if !(options.damping > 0.0 && options.damping <= 1.0) {
            let message = format!(
                "--damping {} is a fraction of each input's energy: above 0, at most 1",
                options.damping
            );
            return Err(RunError::Setting(message));
        }
        let spec = Spec::of(checkpoint)?;
        for role in Role::ALL {
            options
                .pattern
                .check_width(&spec.linear(0, role), spec.shape(role)[1])?;
        }
        let method = method(&options.method).ok_or_else(|| RunError::UnknownMethod {
            name: options.method.clone(),
            known: METHODS.join(", "),
        })?;
        let device_bytes = device_bytes(&spec, checkpoint, &options, gpu);
        let activations = (options.samples.samples * options.samples.length * spec.hidden * 4) as u64;
        let layers = options.limit_layers.unwrap_or(spec.layers).min(spec.layers);
        Ok(Plan {
            family: spec.family.clone(),
            layers,
            weights: layers * spec.layer_weights(),
            adapter: gpu.name().to_string(),
            device_bytes,
            host_bytes: host_bytes(
                &spec,
                checkpoint,
                activations,
                if gpu.is_host() { device_bytes } else { 0 },
            ),
            output_bytes: checkpoint.total_bytes(),
            method,
            spec,
            options,
        })
    }
}

/// Bytes of a weight element once it is on the device.
fn element(gpu: &Gpu, stored: usize) -> usize {
    if gpu.is_host() || gpu.is_software() { 4 } else { stored }
}

/// The larger of the two phases of a group, with both streams' weights, for the widest group.
fn device_bytes(spec: &Spec, checkpoint: &Checkpoint, options: &PruneOptions, gpu: &Gpu) -> u64 {
    /// Matrices of a linear's size alive at once in the largest solver phase.
    const SOLVER: usize = 15;
    let stored = checkpoint
        .tensor(&spec.linear(0, Role::Q))
        .map_or(4, |t| t.dtype.size());
    let weights = 2 * spec.layer_weights() * element(gpu, stored);
    let sequences = Activations::sequences_per_batch(options.samples.length).min(options.samples.samples);
    let rows = sequences * options.samples.length;
    let (q, kv) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
    let stream = rows * (3 * spec.hidden + 2 * q + 2 * kv + 2 * spec.ffn) * 4;
    let (mut capture, mut solve) = (0, 0);
    for group in &spec.groups {
        let n = spec.width(group.input);
        let largest = group.linears.iter().map(|r| spec.shape(*r)[0] * n).max().unwrap_or(0);
        capture = capture.max(3 * n * n * 4 + 2 * stream + rows * spec.hidden * 4);
        solve = solve.max((3 * n * n + SOLVER * largest) * 4);
    }
    (weights + capture.max(solve)) as u64
}

/// Residual streams, the tensor being copied or decoded, and the program with its tokenizer.
fn host_bytes(spec: &Spec, checkpoint: &Checkpoint, activations: u64, device: u64) -> u64 {
    const PROGRAM: u64 = 120 << 20;
    let linear = Role::ALL
        .iter()
        .map(|r| spec.shape(*r).iter().product::<usize>())
        .max()
        .unwrap_or(0) as u64;
    let solution = 4 * linear * 4;
    activations + checkpoint.largest_tensor_bytes().max(solution) + device + PROGRAM
}
