//! What a shot gathers, and the memory that takes.

use super::layer::forward_row;
use super::resident::{Process, Way, kept};
use crate::checkpoint::Checkpoint;
use crate::gpu::Gpu;
use crate::model::{Norm, QkNorm, Role, Spec, evaluation_bytes, loss_gradient_bytes};
use crate::prune::LowRank;
use crate::run::RunError;
use crate::run::curvature::factors::{self, Wanted};
use crate::tensor::DType;

/// What a shot gathers before it decides.
#[derive(Clone, Copy, Debug)]
pub(in crate::run) struct GatherPlan {
    /// Sums kept of every layer.
    pub(in crate::run) factors: Wanted,
    /// How far it goes through the model.
    pub(in crate::run) pass: Pass,
    /// Whether each layer is also left out, to see what that does to the predictions for a batch.
    pub(in crate::run) layers: bool,
    /// Whether they may be gathered once more instead of being kept.
    pub(in crate::run) again: bool,
}

/// A way through the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::run) enum Pass {
    /// None.
    Weights,
    /// From the first layer to the last.
    Forward,
    /// And back.
    Backward,
}

impl GatherPlan {
    /// Of unstructured and N:M runs.
    pub(in crate::run) const ALL: Self = GatherPlan {
        factors: Wanted::ALL,
        pass: Pass::Backward,
        layers: false,
        again: true,
    };

    /// A forward pass and nothing else.
    pub(in crate::run) const FORWARD: Self = GatherPlan {
        factors: Wanted::NONE,
        pass: Pass::Forward,
        layers: false,
        again: false,
    };

    /// Streams of all samples at once: what enters each layer, what leaves the last, and its gradient.
    pub(in crate::run) fn streams(self, layers: usize) -> u64 {
        match self.pass {
            Pass::Weights => 0,
            Pass::Forward => 1,
            Pass::Backward => layers as u64 + 2,
        }
    }

    /// Which way its passes go.
    pub(in crate::run) fn way(self) -> Way {
        match self.pass {
            Pass::Backward => Way::Backward,
            Pass::Weights | Pass::Forward => Way::Forward,
        }
    }

    /// Bytes per row of a batch beside the device: a stream is read back twice, and spread out or encoded; where nothing is
    /// summed up on the device, inputs are read back twice.
    fn read_back(self, spec: &Spec) -> usize {
        let widest = spec.hidden.max(spec.ffn).max(spec.heads * spec.head_dim);
        match self.pass {
            Pass::Weights => 0,
            Pass::Forward if self.factors == Wanted::NONE => 8 * widest.max(2 * spec.hidden),
            Pass::Forward | Pass::Backward => 12 * spec.hidden,
        }
    }

    /// Values alive per row of activations, the most of a layer.
    fn row(self, spec: &Spec) -> usize {
        match self.pass {
            Pass::Weights => 0,
            Pass::Forward => forward_row(spec) as usize / 4,
            Pass::Backward => backward_row(spec),
        }
    }
}

/// Values per row of a batch that a layer's backward pass takes: all that `model/backward/block.rs` records, which lives until
/// it is played.
fn backward_row(spec: &Spec) -> usize {
    let (hidden, q, kv) = (spec.hidden, spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
    let with = |norm: Norm, matrices: usize| if spec.has_norm(norm) { matrices * hidden } else { 0 };
    let scaled = if spec.residual_scale == 1.0 { 0 } else { hidden };
    // The streams at both ends and between the halves, and the gradients of what the halves read.
    let streams = 5 * hidden + with(Norm::Attention, 2) + with(Norm::Mlp, 2);
    let normed = if spec.qk_norm == QkNorm::None { 0 } else { 2 * (q + kv) };
    // With a gradient for each of queries, keys, values and their result, and two numbers of a head's softmax.
    let attention = 4 * (q + kv) + normed + 2 * spec.heads + with(Norm::AttentionOut, 4) + 2 * scaled;
    let linears = spec.linears_of(0).unwrap_or_default();
    let gated = linears
        .iter()
        .flat_map(|l| &l.parts)
        .any(|part| part.role == Role::Gate);
    let inner = if gated { 4 } else { 3 };
    let dense = inner * spec.ffn;
    let mixture = spec
        .experts
        .map_or(0, |e| e.per_token * (4 * hidden + inner * e.ffn) + hidden + 2 * e.count);
    streams + attention + dense.max(mixture) + with(Norm::MlpOut, 2) + scaled
}

/// Device memory of the two passes of a shot, in bytes.
pub(in crate::run) struct Passes {
    /// The largest layer, its factors and a batch of activations with their gradients; or the loss and its gradient.
    pub(in crate::run) gather: u64,
    /// The factors of a layer and what the solve of its largest linear takes.
    pub(in crate::run) solve: u64,
    /// Beside the device: bytes per row of a batch that is read back.
    row: usize,
    /// And to save a factor or a linear.
    saved: u64,
}

impl Passes {
    /// Memory of the process but for streams, with batches of `rows` and `device` bytes of buffers.
    pub(in crate::run) fn host(&self, gpu: &Gpu, process: &Process, spec: &Spec, [rows, device]: [u64; 2]) -> u64 {
        let packed = match self.row {
            0 => 0,
            _ => process.packed_in_layer(spec, rows as usize),
        };
        let saved = self.saved + kept(packed);
        let heap = saved.max(rows * self.row as u64).max(packed);
        process.at_work() + heap + if gpu.in_host_memory() { device } else { 0 }
    }

    /// Predicts them; of `tokens` activations `rows` go through a layer at once.
    pub(in crate::run) fn of(
        gpu: &Gpu,
        checkpoint: &Checkpoint,
        spec: &Spec,
        [tokens, rows]: [usize; 2],
        need: GatherPlan,
    ) -> Result<Self, RunError> {
        let decoded = gpu.in_host_memory();
        let activations = (4 * rows * need.row(spec)) as u64;
        let mut gather = match need.pass {
            Pass::Backward => loss(gpu, checkpoint, spec, [tokens, rows])?,
            _ => 0,
        };
        let mut saved = 0;
        if need.layers && need.pass == Pass::Backward {
            gather = gather.max(evaluation_bytes(gpu, spec, head(checkpoint, spec)?, [rows, rows], 2));
            // What leaves the model, with a layer and without, once more as it is read back.
            saved = (4 * 4 * rows * spec.hidden) as u64;
        }
        let mut passes = Passes {
            gather,
            solve: 0,
            row: need.read_back(spec),
            saved,
        };
        for layer in 0..spec.layers {
            let factors = factors::bytes(spec, layer, need.factors)?;
            let mut weights = 0;
            for linear in spec.linears_of(layer)? {
                let view = checkpoint.tensor_of_shape(&linear.tensor, &linear.stored_shape())?;
                weights += match decoded {
                    true => 4 * view.elements() as u64,
                    false => view.bytes.len() as u64,
                };
                for part in &linear.parts {
                    let rows = part.rows.iter().map(|r| r.len()).sum::<usize>() as u64;
                    let cols = linear.shape[1] as u64;
                    let solve = match need.factors == Wanted::NONE {
                        // Scores of columns: the weight and its transpose.
                        true => 4 * 3 * rows * cols,
                        false => factors + 4 * (11 * rows * cols + 3 * (rows * rows + cols * cols)),
                    };
                    passes.solve = passes.solve.max(solve);
                    // A factor is read back twice; so is a weight, then its support, and both are encoded and decoded.
                    let factor = match need.factors == Wanted::NONE {
                        true => 0,
                        false => 8 * rows.max(cols).pow(2),
                    };
                    passes.saved = passes.saved.max(factor).max(16 * rows * cols);
                }
            }
            passes.gather = passes.gather.max(weights + factors + activations);
        }
        Ok(passes)
    }
}

/// Device memory of the loss and its gradient, in bytes.
fn loss(gpu: &Gpu, checkpoint: &Checkpoint, spec: &Spec, sizes: [usize; 2]) -> Result<u64, RunError> {
    Ok(loss_gradient_bytes(gpu, spec, head(checkpoint, spec)?, sizes))
}

/// Stored type of the head.
fn head(checkpoint: &Checkpoint, spec: &Spec) -> Result<DType, RunError> {
    let head = checkpoint.tensor_of_shape(&spec.head(), &[spec.vocabulary, spec.hidden])?;
    Ok(head.dtype)
}

/// Bytes that correcting takes: on the device, and of all corrections on the host. One sample of `rows` activations goes
/// through a layer at a time, whose weights are there corrected and as gradients.
pub(in crate::run) fn correction(
    gpu: &Gpu,
    checkpoint: &Checkpoint,
    spec: &Spec,
    [rows, rank]: [usize; 2],
) -> Result<(u64, u64), RunError> {
    let activations = (4 * rows * GatherPlan::ALL.row(spec)) as u64;
    let (mut device, mut host) = (loss(gpu, checkpoint, spec, [rows, rows])?, 0);
    for layer in 0..spec.layers {
        let (mut weights, mut largest) = (0, 0);
        for linear in spec.linears_of(layer)? {
            let [outputs, inputs] = linear.shape;
            weights += (8 * outputs * inputs) as u64;
            // Change and mask of one linear.
            largest = largest.max((8 * outputs * inputs) as u64);
            host += LowRank::bytes(linear.shape, rank) as u64;
        }
        device = device.max(weights + largest + activations);
    }
    Ok((device, host))
}
