//! One linear: its layer problem, the method, the refit, and the weights as they will be stored.

use std::ops::Range;
use std::time::Instant;

use super::plan::Plan;
use crate::checkpoint::{Checkpoint, Encoded, encode};
use crate::gpu::{Gpu, Recording};
use crate::model::{LinearSpec, finite, upload_weight};
use crate::prune::{
    InputStatistics, LayerProblem, LayerSolution, Magnitude, Method, Pattern, Permutation, PruneError, refit,
};
use crate::report::LinearRecord;
use crate::run::RunError;
use crate::run::folder::allocation::Allocated;
use crate::run::report::in_products;
use crate::tensor::{DType, Tensor};

/// Values read back at a time.
const PIECE: usize = 1 << 18;

/// Everything a solve reads.
pub(in crate::run) struct Solver<'a> {
    pub(in crate::run) plan: &'a Plan,
    pub(in crate::run) checkpoint: &'a Checkpoint,
    pub(in crate::run) gpu: &'a Gpu,
    /// The inputs of the group.
    pub(in crate::run) inputs: &'a InputStatistics,
    /// The order they are in, if not their own.
    pub(in crate::run) permutation: Option<&'a Permutation>,
    /// Sparsity by tensor, and the weights of its outputs, where they are not the same for all.
    pub(in crate::run) allocated: Option<&'a Allocated>,
}

/// A pruned linear.
pub(in crate::run) struct Pruned {
    pub(in crate::run) record: LinearRecord,
    /// `[outputs, inputs]` elements of the stored type, the inputs in the order of the solver's.
    pub(in crate::run) rows: Vec<u8>,
    pub(in crate::run) dtype: DType,
    /// The same on the device, if they are there in one piece and in the inputs' own order.
    pub(in crate::run) uploaded: Option<Tensor>,
}

struct Solved {
    encoded: Encoded,
    /// Errors before and after the method, if they are known, and the weight that has the second.
    measured: Option<([f64; 2], Tensor)>,
}

impl Solver<'_> {
    /// Prunes one linear of `layer`; `weight` is on the device already, in any element type.
    pub(in crate::run) fn prune(
        &self,
        layer: usize,
        linear: &LinearSpec,
        weight: Option<Tensor>,
    ) -> Result<Pruned, RunError> {
        let (start, shape) = (Instant::now(), linear.shape);
        let view = self
            .checkpoint
            .tensor_of_shape(&linear.tensor, &linear.stored_shape())?;
        if self.plan.statistics.is_some() {
            // No forward pass has seen it.
            finite(&view)?;
        }
        let dtype = view.dtype;
        let stored = linear.rows(view.bytes, dtype);
        let width = shape[1] * dtype.size();
        let blocks = row_blocks(self.plan.solver_rows(self.gpu, shape), shape[0]);
        let mut record = LinearRecord {
            layer,
            role: linear.id.role.name().to_string(),
            expert: linear.id.expert,
            tensor: linear.tensor.clone(),
            shape,
            tokens: self.inputs.tokens,
            input_zeros: dtype.count_zeros(view.bytes),
            dead_inputs: self.inputs.dead,
            row_blocks: blocks.len(),
            permuted: self.permutation.is_some(),
            permutation_kept: self.permutation.map(|p| p.kept),
            ..Default::default()
        };
        let pattern = self.pattern(&linear.tensor)?;
        let mut rows = Vec::with_capacity(view.bytes.len());
        let (mut before, mut after, mut energy) = (0.0, 0.0, 0.0);
        let mut uploaded = None;
        let whole = blocks.len() == 1 && self.permutation.is_none();
        let weight = weight.filter(|_| whole);
        let tiny = !self.gpu.is_host() && dtype.has_tiny(view.bytes);
        let (flops, raised) = (self.gpu.flops(), self.inputs.escalations());
        for block in blocks {
            let part = match &weight {
                Some(weight) => weight.clone(),
                None => self.upload(
                    &stored[block.start * width..block.end * width],
                    [block.len(), shape[1]],
                    dtype,
                )?,
            };
            self.checkpoint.release_all();
            let mut problem = match self.allocated.and_then(|found| found.outputs.get(&linear.tensor)) {
                None => LayerProblem::of(self.gpu, self.inputs, &part, pattern)?,
                Some(outputs) => {
                    LayerProblem::weighted(self.gpu, self.inputs, &part, pattern, &outputs[block.clone()])?
                }
            };
            if tiny {
                // The device may take such values for zeros.
                let ones = part
                    .fetch(self.gpu)?
                    .iter()
                    .map(|w| f32::from(*w != 0.0))
                    .collect::<Vec<_>>();
                problem.free = Tensor::upload(self.gpu, "free", part.rows(), part.cols(), &ones)?;
            }
            drop(part);
            let solved = self.solve(&problem, dtype, &mut record)?;
            energy += problem.energy;
            rows.extend(solved.encoded.bytes);
            if let Some((errors, stored)) = solved.measured {
                before += errors[0];
                after += errors[1];
                uploaded = Some(stored).filter(|_| whole);
            }
        }
        if self.inputs.has_gram() {
            // A weight of zeros, or an expert without tokens, has no energy to lose.
            let some = energy > 0.0 && self.inputs.tokens > 0;
            let relative = |error: f64| Some(if some { error / energy } else { 0.0 });
            (record.error_before, record.error_after) = (relative(before), relative(after));
        }
        record.lipschitz = self.inputs.known_lipschitz();
        record.sparsity = record.zeros as f64 / (shape[0] * shape[1]) as f64;
        record.damping_raised = self.inputs.escalations() - raised;
        record.products = in_products(self.gpu.flops() - flops, shape);
        record.seconds = start.elapsed().as_secs_f64();
        Ok(Pruned {
            record,
            rows,
            dtype,
            uploaded,
        })
    }

    /// Stored elements `[outputs, inputs]`, put in the order of the solver's inputs, on the device.
    fn upload(&self, bytes: &[u8], shape: [usize; 2], dtype: DType) -> Result<Tensor, RunError> {
        let permuted;
        let bytes = match self.permutation {
            None => bytes,
            Some(permutation) => {
                permuted = permutation.gather(bytes, dtype.size());
                &permuted
            }
        };
        Ok(upload_weight(self.gpu, "weight", shape, dtype, bytes)?)
    }

    /// The pattern, with the linear's own share of the zeros.
    fn pattern(&self, tensor: &str) -> Result<Pattern, RunError> {
        let pattern = self.plan.options.pattern;
        Ok(
            match (self.allocated.and_then(|found| found.shares.get(tensor)), pattern) {
                // All of a linear is only allocated where all of it is zero already, which any pattern leaves so.
                (Some(share), Pattern::Unstructured { scope, .. }) if *share < 1.0 => {
                    Pattern::unstructured(*share, scope)?
                }
                _ => pattern,
            },
        )
    }

    fn solve(&self, problem: &LayerProblem<'_>, dtype: DType, record: &mut LinearRecord) -> Result<Solved, RunError> {
        let gpu = self.gpu;
        // Without tokens magnitudes are all there is.
        let method: &dyn Method = match self.inputs.tokens {
            0 => &Magnitude,
            _ => self.plan.method.as_ref(),
        };
        let solution = method.solve(gpu, problem)?;
        let solution = refit(gpu, problem, solution, self.plan.options.refit)?;
        let mut recording = Recording::new();
        problem
            .leave(&mut recording, gpu, &solution.weight)
            .map_err(PruneError::from)?;
        gpu.submit(recording)?;
        let [rows, cols] = solution.weight.shape();
        let encoded = self.read_back(&solution, dtype)?;
        let (rounds, lambda, before) = (solution.rounds, solution.lambda, solution.start_error);
        drop(solution);
        let measured = if problem.knows_errors() {
            // The error that counts is that of the weights as stored.
            let stored = upload_weight(gpu, &record.tensor, [rows, cols], dtype, &encoded.bytes)?;
            let after = problem.errors_of_stored(gpu, &stored)?.dense;
            // Where outputs of the dense weight overflow, what reads them will say so.
            if !after.is_finite() && problem.energy.is_finite() {
                let tensor = record.tensor.clone();
                return Err(PruneError::NonFiniteSolution { tensor }.into());
            }
            Some(([before, after], stored))
        } else {
            None
        };
        record.rounds += rounds;
        record.lambda = record.lambda.max(lambda);
        record.zeros += encoded.zeros;
        record.raised += encoded.raised;
        record.saturated += encoded.saturated;
        Ok(Solved { encoded, measured })
    }

    /// The weights of a solution as they will be stored, read in pieces.
    fn read_back(&self, solution: &LayerSolution, dtype: DType) -> Result<Encoded, RunError> {
        let [rows, cols] = solution.weight.shape();
        let mut all = Encoded::with_capacity(rows * cols * dtype.size());
        for block in row_blocks((PIECE / cols).max(1), rows) {
            let mut recording = Recording::new();
            let ids = [&solution.weight, &solution.support]
                .map(|tensor| recording.read(&tensor.row_window(block.start, block.len()).slice()));
            let done = self.gpu.submit(recording)?;
            all.append(encode(&done.floats(ids[0])?, &done.floats(ids[1])?, dtype));
        }
        Ok(all)
    }
}

/// Ranges of at most `height` rows.
pub(in crate::run) fn row_blocks(height: usize, rows: usize) -> Vec<Range<usize>> {
    (0..rows)
        .step_by(height)
        .map(|first| first..(first + height).min(rows))
        .collect()
}
