//! One linear: its layer problem, the method, the refit, and the weights as they will be stored.

use std::ops::Range;
use std::time::Instant;

use super::RunError;
use super::allocate::Allocated;
use super::encode::{Encoded, encode};
use super::plan::Plan;
use crate::checkpoint::Checkpoint;
use crate::gpu::{Gpu, Recording};
use crate::model::{LinearSpec, finite};
use crate::prune::{
    InputStatistics, LayerProblem, LayerSolution, Magnitude, Method, Pattern, Permutation, PruneError, refit,
};
use crate::report::LinearRecord;
use crate::tensor::{DType, Tensor};

/// Values read back at a time.
const PIECE: usize = 1 << 18;

/// Everything a solve reads.
pub(super) struct Solver<'a> {
    pub(super) plan: &'a Plan,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) gpu: &'a Gpu,
    /// The inputs of the group.
    pub(super) inputs: &'a InputStatistics,
    /// The order they are in, if not their own.
    pub(super) permutation: Option<&'a Permutation>,
    /// Sparsity by tensor, and the weights of its outputs, where they are not the same for all.
    pub(super) allocated: Option<&'a Allocated>,
}

/// A pruned linear.
pub(super) struct Pruned {
    pub(super) record: LinearRecord,
    /// `[outputs, inputs]` elements of the stored type, the inputs in the order of the solver's.
    pub(super) rows: Vec<u8>,
    pub(super) dtype: DType,
}

struct Solved {
    encoded: Encoded,
    before: f64,
    after: f64,
}

impl Solver<'_> {
    /// Prunes one linear of `layer`.
    pub(super) fn prune(&self, layer: usize, linear: &LinearSpec) -> Result<Pruned, RunError> {
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
            lipschitz: self.inputs.lipschitz,
            dead_inputs: self.inputs.dead,
            row_blocks: blocks.len(),
            permuted: self.permutation.is_some(),
            permutation_kept: self.permutation.map(|p| p.kept),
            ..Default::default()
        };
        let pattern = self.pattern(&linear.tensor)?;
        let mut rows = Vec::with_capacity(view.bytes.len());
        let (mut before, mut after, mut energy) = (0.0, 0.0, 0.0);
        let (flops, raised) = (self.gpu.flops(), self.inputs.escalations());
        for block in blocks {
            let part = dtype.decode(&stored[block.start * width..block.end * width]);
            let part = match self.permutation {
                Some(permutation) => permutation.gather(part),
                None => part,
            };
            self.checkpoint.release_all();
            let size = [block.len(), shape[1]];
            let problem = match self.allocated.and_then(|found| found.outputs.get(&linear.tensor)) {
                None => LayerProblem::new(self.gpu, self.inputs, size, &part, pattern)?,
                Some(outputs) => {
                    LayerProblem::weighted(self.gpu, self.inputs, size, &part, pattern, &outputs[block.clone()])?
                }
            };
            drop(part);
            let solved = self.solve(&problem, dtype, &mut record)?;
            before += solved.before;
            after += solved.after;
            energy += problem.energy;
            rows.extend(solved.encoded.bytes);
        }
        // A weight of zeros, or an expert without tokens, has no energy to lose.
        let some = energy > 0.0 && self.inputs.tokens > 0;
        let relative = |error: f64| Some(if some { error / energy } else { 0.0 });
        (record.error_before, record.error_after) = (relative(before), relative(after));
        record.sparsity = record.zeros as f64 / (shape[0] * shape[1]) as f64;
        record.damping_raised = self.inputs.escalations() - raised;
        record.products = in_products(self.gpu.flops() - flops, shape);
        record.seconds = start.elapsed().as_secs_f64();
        Ok(Pruned { record, rows, dtype })
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
        // The error that counts is that of the weights as stored.
        let stored = Tensor::upload(gpu, "stored weight", rows, cols, &dtype.decode(&encoded.bytes))?;
        let mut recording = Recording::new();
        problem.enter(&mut recording, gpu, &stored).map_err(PruneError::from)?;
        gpu.submit(recording)?;
        let after = problem.errors(gpu, &stored)?.dense;
        // Where outputs of the dense weight overflow, what reads them will say so.
        if !after.is_finite() && problem.energy.is_finite() {
            let tensor = record.tensor.clone();
            return Err(PruneError::NonFiniteSolution { tensor }.into());
        }
        record.rounds += rounds;
        record.lambda = record.lambda.max(lambda);
        record.zeros += encoded.zeros;
        record.raised += encoded.raised;
        record.saturated += encoded.saturated;
        Ok(Solved { encoded, before, after })
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

/// Arithmetic in products of a weight with the Gram of its inputs.
pub(super) fn in_products(flops: f64, [rows, cols]: [usize; 2]) -> f64 {
    flops / (2.0 * (rows * cols) as f64 * cols as f64)
}

/// Ranges of at most `height` rows.
pub(super) fn row_blocks(height: usize, rows: usize) -> Vec<Range<usize>> {
    (0..rows)
        .step_by(height)
        .map(|first| first..(first + height).min(rows))
        .collect()
}
